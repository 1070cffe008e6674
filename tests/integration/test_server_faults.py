"""What a server, or something between, may do to streams: nothing is lost, torn or twice, and nobody is flooded.

Each test compares Kafka with what the server meant, byte for byte, by a consumer that follows the rule.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from tests.faults.server_cuts import FRAMINGS, cut_at_any_byte
from tests.faults.server_feed import FaultyFeed, numbered, proven
from tests.integration.scene import settings, started, status
from tests.integration.scripted_mix import scripted_mix
from tests.kafka.process import Bridge
from tests.unit.effort import EFFORT
from tests.waiting import wait_until

CUTS = 40 * EFFORT
"""Of each of the twelve streams."""
LAYOUTS = (
    "id: {id}\nevent: content\ndata: {data}\n\n",
    "event: content\ndata: {data}\nid: {id}\n\n",
    ": a comment\r\nid: {id}\r\nevent: content\r\ndata: {data}\r\n\r\n",
    "event:content\rdata:{data}\rid:{id}\r\r",
)
"""An id behind its data is the dangerous one: cut in its digits, it would be another id."""


def wait_delivered(bridge: Bridge, feeds: Mapping[str, FaultyFeed], deadline: float = 60.0) -> None:
    """Return once every session is at the end of its stream and nothing is under way."""

    def behind() -> list[str]:
        told = {one["session"]: (one["last_event_id"], one["in_flight"]) for one in status(bridge)["sessions"]}
        return [name for name, feed in feeds.items() if told.get(name) != (feed.last_id, 0)]

    wait_until(lambda: not behind(), deadline, f"the end of {behind()}, see {bridge.log}", 0.05)


def metric(bridge: Bridge, name: str) -> float:
    """One counter of the server."""
    lines = bridge.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"mix_bridge_{name}{{"))


def test_cuts_at_any_byte_lose_tear_and_repeat_nothing(kafka: str, namespace: str, tmp_path: Path) -> None:
    """FIN and RST, in the head, in size lines, ids and characters, in every framing, packed against our wish too."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    feeds: dict[str, FaultyFeed] = {}
    for framing, framed in FRAMINGS.items():
        for reset in (False, True):
            cuts = [cut_at_any_byte(framed, chance, 3000, reset=reset) for _ in range(CUTS)]
            sent = numbered(1, 10 * CUTS, layout=LAYOUTS[len(feeds) % len(LAYOUTS)])
            feeds[f"{framing}-{'rst' if reset else 'fin'}"] = FaultyFeed(sent, cuts)
    more = {"servers.local.reconnect_min": "1ms", "servers.local.reconnect_max": "5ms"}
    with scripted_mix() as mix:
        mix.streams = dict(feeds)
        mix.list(*feeds)
        with started(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            wait_delivered(bridge, feeds)
            tails = metric(bridge, "discarded_tails_total")
            assert bridge.terminate() == 0
    connections = sum(len(feed.requests) for feed in feeds.values())
    proof = proven(kafka, namespace, feeds)
    print(f"{connections - len(feeds)} cuts, {tails:.0f} torn events, {proof.events} events, {proof.repeats} repeats")
    assert connections >= len(feeds) * CUTS
    assert tails > connections / 10
