"""Faults of a server or of the network lose, truncate and repeat no event.

Each test compares Kafka with the server's events, byte for byte, by a consumer that follows the rule for consumers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.fakes import bad_responses as bad
from tests.fakes.faulty_feed import Fault, FaultyFeed, Sent, numbered
from tests.fakes.raw_server import answer, serving
from tests.fakes.stream_cuts import FRAMINGS, cut_at_any_byte
from tests.support.effort import EFFORT, new_seed
from tests.support.feed_proof import proven, total, wait_delivered
from tests.support.killed_server import KilledServer
from tests.support.lifecycle import lifecycles
from tests.support.process import Bridge
from tests.support.scene import bridged, settings, status
from tests.support.scripted_mix import scripted_mix
from tests.support.waiting import let_pass, wait_until

CUTS = 40 * EFFORT
"""Of each of the twelve streams."""
LATE = 25.0
"""Seconds: less than any time-out or back-off that would be wrong, and more than a busy machine adds."""
LAYOUTS = (
    "id: {id}\nevent: content\ndata: {data}\n\n",
    "event: content\ndata: {data}\nid: {id}\n\n",
    ": a comment\r\nid: {id}\r\nevent: content\r\ndata: {data}\r\n\r\n",
    "event:content\rdata:{data}\rid:{id}\r\r",
)
"""An id after its data is the dangerous case: cut within its digits, it would be another id."""


def test_cuts_at_any_byte_lose_and_repeat_nothing(kafka: str, namespace: str, tmp_path: Path) -> None:
    """FIN and RST, in heads, size lines, ids and characters, in every framing, with unrequested compression."""
    chance = random.Random(new_seed())
    feeds: dict[str, FaultyFeed] = {}
    for framing, framed in FRAMINGS.items():
        for reset in (False, True):
            cuts = [cut_at_any_byte(framed, chance, 3000, reset=reset) for _ in range(CUTS)]
            sent = numbered(1, 10 * CUTS, layout=LAYOUTS[len(feeds) % len(LAYOUTS)])
            feeds[f"{framing}-{'rst' if reset else 'fin'}"] = FaultyFeed(sent, cuts)
    more = {"servers.local.reconnect_min": "1ms", "servers.local.reconnect_max": "5ms"}
    with scripted_mix(feeds) as mix, bridged(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
        wait_delivered(bridge, feeds)
        tails = total(bridge, "discarded_tails_total")
    connections = sum(len(feed.requests) for feed in feeds.values())
    proof = proven(kafka, namespace, feeds)
    print(
        f"{connections - len(feeds)} cuts, {tails:.0f} truncated events, {proof.events} events, {proof.repeats} repeats"
    )
    assert connections >= len(feeds) * CUTS
    assert tails > connections / 10


def interrupted(
    kafka: str,
    namespace: str,
    folder: Path,
    faults: Mapping[str, Sequence[Fault]],
    more: Mapping[str, object],
) -> dict[str, FaultyFeed]:
    """Run a session per row: events, then its faults on one connection each, then events. Verify all of them."""
    feeds = {name: FaultyFeed(numbered(1, 20)) for name in faults}
    with scripted_mix(feeds) as mix, bridged(folder, settings(kafka, namespace, mix.url, more)) as bridge:
        wait_delivered(bridge, feeds)
        for name, feed in feeds.items():
            feed.fail(faults[name], numbered(21, 20))
        wait_delivered(bridge, feeds)
        wait_until(lambda: all(len(feeds[name].requests) == 2 + len(faults[name]) for name in feeds), 20, "requests")
        wait_until(lambda: {one["state"] for one in status(bridge)["sessions"]} == {"streaming"}, 10, "working streams")
        assert bridge.get("/readyz").status == 200
    assert proven(kafka, namespace, feeds).repeats == 0
    return feeds


def test_responses_that_are_not_streams_lose_nothing(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Errors, pages, redirects, garbage: the bridge retries until there is a stream, and no event is missing.

    It waits as ``Retry-After`` requires, in both forms. It sends no request to the other host of a redirect.
    """
    with serving(lambda peer: peer.send(answer(200))) as other:
        away = b"Location: " + other.url.encode()
        login = b"<html>data: log in\n\n</html>"
        rows: dict[str, Sequence[Fault]] = {
            "500": [bad.status(500)] * 4,
            "502-and-504": [bad.status(502), bad.status(504)],
            "204-and-205": [bad.status(204), bad.status(205), bad.status(204), bad.status(204)],
            "404": [bad.status(404)] * 4,
            "400-twice": [bad.status(400)] * 2,
            "json": [bad.page(b"application/json", b'{"error": {}}')] * 3,
            "login-page": [bad.page(b"text/html; charset=utf-8", login)] * 3,
            "no-type": [bad.raw(b"HTTP/1.1 200 OK\r\n\r\nid: 7\nevent: content\ndata: {}\n\n")] * 3,
            "moved-away": [bad.status(code, away) for code in (301, 302, 303, 307, 308)],
            "moved-nowhere": [bad.status(302), bad.status(307, b"Location: http://[")],
            "busy-seconds": [bad.status(503, b"Retry-After: 2")],
            "busy-date": [bad.busy_until(3)],
            "too-many": [bad.status(429, b"Retry-After: 2")],
            "nonsense-wait": [bad.status(503, b"Retry-After: soon"), bad.status(429, b"Retry-After: -5")],
            "garbage": [bad.raw(b"\0\1\2 no http\r\n\r\n"), bad.raw(b""), bad.raw(b"HTTP/1.1 abc\r\n\r\n")],
            "flood": [bad.raw(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000)],
        }
        secrets = {"servers.local.token": "open-sesame", "servers.local.headers.x-api-key": "open-sesame"}
        feeds = interrupted(kafka, namespace, tmp_path, rows, secrets)
        assert other.peers == []
    for name, least in (("busy-seconds", 2.0), ("busy-date", 2.0), ("too-many", 2.0)):
        refused, next_one = feeds[name].requests[1:3]
        assert least <= next_one.at - refused.at < least + LATE, name
    for name in ("nonsense-wait", "500"):
        refused, next_one = feeds[name].requests[1:3]
        assert next_one.at - refused.at < LATE, name


def test_hanging_streams_time_out_and_quiet_ones_do_not(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Silence and endless slow bytes time out; streams with only comments stay open for three timeouts."""
    hanging: dict[str, Sequence[Fault]] = {
        "mute": [bad.silent],
        "silent-in-an-event": [bad.silent_in_an_event],
        "dripping-head": [bad.dripping_head()],
        "dripping-size": [bad.dripping_size()],
        "dripping-event": [bad.dripping_event],
        "truncated-by-a-proxy": [bad.truncated_by_a_proxy] * 3,
        "bad-framing": [bad.bad_framing] * 3,
    }
    quiet = {
        "comments": bad.commented(b":\n\n", 100),
        "comment-lines": bad.commented(b": still here\n", 100),
        "heartbeats": bad.commented(b'event: heartbeat\ndata: {"type":"heartbeat"}\n\n', 100),
    }
    rows = hanging | {name: [fault] for name, fault in quiet.items()}
    feeds = interrupted(kafka, namespace, tmp_path, rows, {"servers.local.read_timeout": "1500ms"})
    for name in quiet:
        _, began, next_one = feeds[name].requests
        assert next_one.at - began.at >= 100 * bad.DRIP, name
    for name in hanging:
        _, began, next_one = feeds[name].requests[:3]
        assert next_one.at - began.at < LATE, name


def test_a_killed_and_restarted_server_loses_nothing(kafka: str, namespace: str, tmp_path: Path) -> None:
    """A real process is killed under load several times, which resets and refuses connections."""
    rounds = 3 * EFFORT
    names = [f"s{number}" for number in range(5)]
    feeds = {name: FaultyFeed(numbered(1, 300 * rounds)) for name in names}
    with (
        KilledServer(tmp_path, names, 300 * rounds) as server,
        bridged(tmp_path, settings(kafka, namespace, server.url)) as bridge,
    ):
        for killed in range(rounds):
            wait_more_than(bridge, (100 + 300 * killed) * len(names))
            server.kill()
            wait_until(lambda: bridge.get("/readyz").status == 503, 10, "a 503 of /readyz", 0.02)
            server.start()
        wait_delivered(bridge, feeds)
        bridge.wait_ready()
        reconnects = total(bridge, "reconnects_total")
    proof = proven(kafka, namespace, feeds)
    print(f"{rounds} kills, {reconnects:.0f} reconnects, {proof.events} events, {proof.repeats} repeats")
    assert proof.repeats == 0


def wait_more_than(bridge: Bridge, count: int) -> None:
    """Return when more than this many records of all sessions are acknowledged."""

    def delivered() -> int:
        return sum(one["acknowledged_sequence"] for one in status(bridge)["sessions"])

    wait_until(lambda: delivered() > count, 30, "some events", 0.02)


def test_random_faults_while_the_bridge_is_killed_lose_nothing(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Random cuts, errors, pages and truncated events on every connection, and several kills of the bridge.

    With ids that rise by one, no fault and no kill starts a new epoch, because the overlap proves the replay. With
    opaque ids, a kill before a session's first checkpoint does: there is no overlap to compare.
    """
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    count, kills = 1500 * EFFORT, 3 * EFFORT
    feeds = {
        f"{kind}-{number}": FaultyFeed(make(count, random.Random(seed + number)), any_fault(seed + number))
        for kind, make in (("numbers", in_any_layout), ("words", with_random_ids))
        for number in range(3)
    }
    chance = random.Random(seed)
    more = {
        "servers.local.reconnect_min": "1ms",
        "servers.local.reconnect_max": "20ms",
        "servers.local.replay_timeout": "2m",  # however busy the machine is: this server always replays
    }
    with scripted_mix(feeds) as mix, bridged(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
        for _ in range(kills):
            let_pass(chance.uniform(0.2, 1.0))
            bridge.kill()
            bridge.start()
        for feed in feeds.values():
            feed.fail(())
        wait_delivered(bridge, feeds)
    proof = proven(kafka, namespace, feeds, new_epochs=True)
    connections = sum(len(feed.requests) for feed in feeds.values())
    print(f"{kills} kills, {connections} connections, {proof.events} events, {proof.repeats} repeats")
    for key, records in lifecycles(kafka, namespace).items():
        new_epochs = [one for one in records if one.new_epoch is not None]
        assert len(new_epochs) <= (kills if "words" in key else 0), (key, new_epochs)


def any_fault(seed: int) -> Iterator[Fault]:
    """Yield random faults without end, mostly cuts."""
    chance = random.Random(seed)
    framings = [*FRAMINGS.values()]
    others = (bad.status(500), bad.status(503), bad.status(204), bad.page(b"text/html", b"log in"), bad.raw(b""))
    while True:
        if chance.random() < 0.3:
            yield chance.choice((*others, bad.truncated_by_a_proxy, bad.bad_framing))
        else:
            yield cut_at_any_byte(chance.choice(framings), chance, 8000, reset=chance.random() < 0.5)


def in_any_layout(count: int, chance: random.Random) -> list[Sent]:
    """Return events with rising ids in a random layout."""
    return numbered(1, count, layout=chance.choice(LAYOUTS))


def with_random_ids(count: int, chance: random.Random) -> list[Sent]:
    """Return events with opaque ids."""
    ids = [f"{chance.getrandbits(64):x}" for _ in range(count)]
    bare = numbered(1, count, layout="event: content\ndata: {data}\n\n")
    return [one._replace(wire=f"id: {id_}\n".encode() + one.wire, id=id_) for one, id_ in zip(bare, ids, strict=True)]
