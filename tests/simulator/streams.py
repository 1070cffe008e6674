"""A simulated server without agents, and readers of its streams: what its tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bridge.simulator.server.mix_server import MixServer
from bridge.simulator.server.options import ServerOptions
from tests.fakes.raw_client import RawStream, call

# One session without an agent: a test publishes what it needs.
SILENT: dict[str, Any] = {"port": 0, "sessions": 1, "rate": 0, "heartbeat": 0}


@contextmanager
def running(**options: Any) -> Iterator[MixServer]:
    with MixServer(ServerOptions(**{**SILENT, **options})) as server:
        yield server


def only(server: MixServer) -> str:
    (session,) = server.sessions()
    return session


def opened(server: MixServer, session: str | None = None, last_event_id: str | None = "0", **more: str) -> RawStream:
    """Open a stream, by default of the first session, without reading its head."""
    headers = more if last_event_id is None else {"Last_Event_ID": last_event_id, **more}
    return RawStream(server.url, f"/stream?sessionId={session or server.sessions()[0]}", **headers)


def reading(server: MixServer, session: str | None = None, last_event_id: str | None = None) -> RawStream:
    """Open a stream and read its head."""
    stream = opened(server, session, last_event_id)
    stream.head()
    return stream


def faults(server: MixServer) -> list[Any]:
    """Return the faults as the control API lists them."""
    return list(call(server.url, "GET", "/control/faults").body)


def lost(server: MixServer) -> list[list[int]]:
    """Return the first and last sequence of each range of lost events of the only session."""
    return list(call(server.url, "GET", f"/control/lost?session={only(server)}").body["spans"])


def is_open(server: MixServer) -> bool:
    try:
        return call(server.url, "GET", "/health").status == 200
    except OSError:
        return False
