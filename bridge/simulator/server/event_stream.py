"""One open event stream of the published contract, and the loop that every event stream runs.

Thread rule: the server's event loop thread.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from bridge.simulator.encoding import event_block
from bridge.simulator.faults.kinds import OwnIds, Replay
from bridge.simulator.faults.middleware import FaultMiddleware
from bridge.simulator.faults.registry import FaultRegistry
from bridge.simulator.scripts.agent_script import encode
from bridge.simulator.server.agent_session import INITIAL_ID, AgentSession, number_of
from bridge.simulator.server.body_writer import BodyEnded, BodyWriter
from bridge.simulator.server.load_session import LoadSession
from bridge.simulator.server.options import ServerOptions
from bridge.simulator.server.sessions import Reader, Session

ReplayableSession = AgentSession | LoadSession


class StreamContent(Protocol):
    """What one kind of server writes to one connection."""

    @property
    def reader(self) -> Reader:
        """The stream's reader."""

    def send_connected(self) -> None:
        """Send the first event."""

    def send_heartbeat(self) -> None:
        """Send a heartbeat. Raises BodyEnded when the connection is too old."""

    async def send_events(self, faults: FaultMiddleware) -> bool:
        """Send waiting events. False: there were none."""


async def serve_stream(
    content: StreamContent, session: Session, body: BodyWriter, registry: FaultRegistry, heartbeat: float
) -> None:
    """Serve a stream until the session closes or the reader is ended. OSError when the client has gone."""
    reader = content.reader
    faults = FaultMiddleware(registry, session.info.id, reader, body)
    session.attach(reader)
    heartbeats = asyncio.get_running_loop().create_task(_request_heartbeats(reader, heartbeat))
    try:
        await faults.apply()
        content.send_connected()
        await _send_until_closed(content, session, faults)
    except BodyEnded as ended:
        await body.terminate(ended.how)
    finally:
        heartbeats.cancel()
        session.detach(reader)


async def _send_until_closed(content: StreamContent, session: Session, faults: FaultMiddleware) -> None:
    reader = content.reader
    while not reader.ended:
        if faults.is_outdated:
            await faults.apply()
        if reader.heartbeat_due:
            reader.heartbeat_due = False
            content.send_heartbeat()
        if await content.send_events(faults):
            await asyncio.sleep(0)  # drain() alone does not let other tasks run while the client reads fast
        elif session.closed:
            raise BodyEnded("end")
        else:
            await reader.wait()
    raise BodyEnded(reader.ending)


async def _request_heartbeats(reader: Reader, interval: float) -> None:
    while interval:
        await asyncio.sleep(interval)  # ended by cancel()
        reader.request_heartbeat()


class ContractStream:
    """Sends ``connected``, the events that the client missed, then the new ones.

    The client sets the pace: only the transport queues bytes for it, all other events stay in the session's buffer.
    """

    def __init__(
        self,
        session: ReplayableSession,
        body: BodyWriter,
        options: ServerOptions,
        *,
        registry: FaultRegistry,
        last_event_id: str | None,
    ) -> None:
        self._session = session
        self._body = body
        self._options = options
        self._registry = registry
        self._last_id, position = _start(session, registry, last_event_id)
        self.reader = Reader(position, body.transport)

    async def run(self) -> None:
        await serve_stream(self, self._session, self._body, self._registry, self._options.heartbeat)

    def send_connected(self) -> None:
        self._send_own("connected", {"sessionId": self._session.info.id}, self._options.retry)

    def send_heartbeat(self) -> None:
        self._send_own("heartbeat", {"type": "heartbeat"})

    async def send_events(self, faults: FaultMiddleware) -> bool:
        """Send the next events, if there are any, and wait until the transport has space."""
        session, reader = self._session, self.reader
        if faults.events_to_skip:
            skipped = min(session.head - reader.position, faults.events_to_skip)
            reader.position += skipped
            faults.events_to_skip -= skipped
        first = max(reader.position, session.floor) + 1
        chunks, last = session.chunks_after(reader.position)
        if chunks:
            self._last_id = session.id_at(last) or self._last_id
        write = self._body.write
        for chunk in chunks:
            write(chunk)
        await self._body.drain()
        has_moved, reader.position = last != reader.position, last
        if isinstance(session, AgentSession):
            session.mark_sent(first, last)
        return has_moved

    def _send_own(self, name: str, fields: dict[str, str], retry_ms: int | None = None) -> None:
        self._body.write_own(event_block(*encode(name, fields), self._own_id(), retry_ms))

    def _own_id(self) -> str | None:
        """Return the id of an event about this connection, according to the option and to faults."""
        fault = self._registry.hit(OwnIds, self._session.info.id)
        ids = self._options.connection_ids if fault is None else fault.fault.ids
        if ids == "none":
            return None
        if ids == "fresh" and isinstance(self._session, AgentSession):
            return str(self._session.ids.next())
        return self._last_id


def _start(session: ReplayableSession, registry: FaultRegistry, last_event_id: str | None) -> tuple[str, int]:
    """Return the last event id to report, and the sequence after which the stream begins.

    Without an id it begins with the next new event. After an id that this server never sent it begins with the oldest
    kept event: repeats are better than a gap.
    """
    replay = registry.hit(Replay, session.info.id)
    if replay is not None and replay.fault.start == "oldest":
        return INITIAL_ID, session.floor
    if replay is not None or not last_event_id:
        return session.id_at(session.head) or INITIAL_ID, session.head
    position = session.resume_position(last_event_id)
    if position is None:
        return INITIAL_ID, session.floor
    number = number_of(last_event_id)
    return last_event_id if number is None else str(number), position
