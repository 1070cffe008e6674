"""A real HTTP endpoint over a snapshot that a test chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from bridge import clock
from bridge.core.snapshot import BridgeSnapshot, ServerSnapshot, SessionSnapshot
from bridge.observe.api import HttpEndpoint
from tests.fakes import snapshots
from tests.support.waiting import TIMEOUT

WELL = replace(
    snapshots.WELL,
    sessions=(SessionSnapshot("local", "s\x1b\ud800", "streaming", sequence=7),),
    servers={"local": ServerSnapshot(reachable=True)},
    loops={"poll": 0.1},
)


@contextmanager
def serving(
    snapshot: Callable[[], BridgeSnapshot] = lambda: WELL, token: str | None = None, asked: int = 0
) -> Iterator[int]:
    """A running endpoint's port."""
    with listening(HttpEndpoint("127.0.0.1", asked, token, snapshot)) as port:
        yield port


@contextmanager
def listening(endpoint: HttpEndpoint) -> Iterator[int]:
    """Start it; yield its port, and stop it afterwards."""
    port = endpoint.start()
    try:
        yield port
    finally:
        endpoint.stop()
        assert endpoint.join(clock.monotonic() + TIMEOUT)
