"""The cost of one more idle session, and the rate of connections: a real process with some hundreds of sessions."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge.daemon.rate_limit import BURST, RATE
from tests.benchmarks.footprint import connections, footprint
from tests.support.mix import MixServer
from tests.support.process import Bridge
from tests.support.scene import settings, started, status
from tests.support.waiting import TIMEOUT, wait_until

FEW, MANY = 20, 420
LARGEST_IDLE = 70
"""KiB of resident memory that one more plain session may cost."""
LARGEST_STACK = 1024 + 200
"""KiB of addresses: nearly all of it is its thread's stack, which is mostly unused."""


@contextmanager
def quiet_server(folder: Path) -> Iterator[MixServer]:
    with MixServer(folder / "mix", "--load", "--held", "--sessions", FEW, "--heartbeat", 1) as mix:
        yield mix


def create(mix: MixServer, count: int) -> None:
    """Create sessions over one connection."""
    line = http.client.HTTPConnection(mix.url.removeprefix("http://"), timeout=TIMEOUT)
    for _ in range(count):
        line.request("POST", "/control/sessions", json.dumps({}))
        line.getresponse().read()
    line.close()


def wait_idle(bridge: Bridge, sessions: int) -> None:
    """Return once all stream and their first positions are checkpointed."""

    def idle() -> bool:
        running = status(bridge)["sessions"]
        return [one["state"] == "streaming" and not one["in_flight"] for one in running] == [True] * sessions

    wait_until(idle, 30, f"{sessions} idle sessions, see {bridge.log}", 0.2)


def test_an_idle_session_costs_little_and_the_connection_rate_is_limited(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """Memory, threads and descriptors of 400 more sessions, and the times of their connections."""
    more = {"servers.local.discover_interval": "500ms"}
    with quiet_server(tmp_path) as mix, started(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
        wait_idle(bridge, FEW)
        before = footprint(bridge.pid)
        create(mix, MANY - FEW)
        wait_idle(bridge, MANY)
        after = footprint(bridge.pid)
        opened = sorted(stream["opened"] for stream in mix.streams())
        assert connections(int(mix.url.rpartition(":")[2])) >= MANY
    added = MANY - FEW
    each = (after.rss - before.rss) / added
    print(f"{each:.1f} KiB a session")
    assert each < LARGEST_IDLE
    assert (after.virtual - before.virtual) / added < LARGEST_STACK
    assert abs(after.threads - before.threads - added) <= 5
    assert abs(after.descriptors - before.descriptors - added) <= 20
    assert len(opened) == MANY, "a session connected more than once"
    assert opened[-1] - opened[FEW] > (added - BURST) / RATE - 0.1, "connections exceed the rate limit"
