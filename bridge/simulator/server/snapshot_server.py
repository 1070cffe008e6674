"""The other kind in the field: the public server snapshot of August 2025, as it was observed. Event loop thread only.

No ids, no reconnection time, no comments; ``Last-Event-ID`` is ignored and nothing is ever replayed. A heartbeat comes
only while nothing runs, and each connection ends without a last chunk at the first heartbeat after ``connection_age``.
An unknown session is 200 with one ``error`` event; any other path is 200 ``text/plain``. Any method on ``/stream`` is a
reader.
"""

from __future__ import annotations

import asyncio

from bridge.clock import monotonic
from bridge.simulator.faults.middleware import FaultMiddleware
from bridge.simulator.faults.registry import FaultRegistry
from bridge.simulator.scripts.agent_script import ScriptedEvent, encode
from bridge.simulator.server.body_writer import Outlet, Severed
from bridge.simulator.server.encoding import http_chunk
from bridge.simulator.server.http_edge import Answer, Request
from bridge.simulator.server.options import ServerOptions
from bridge.simulator.server.session_table import Roster, UnknownSession
from bridge.simulator.server.sessions import Reader
from bridge.simulator.server.site import Body
from bridge.simulator.server.snapshot_session import SnapshotReader, SnapshotSession, snapshot_block

_HEARTBEAT = encode("heartbeat", {"type": "heartbeat"})
# Events that share one chunk when several wait.
_TOGETHER = 16


class SnapshotSite:
    """What it answers to readers."""

    def __init__(self, options: ServerOptions, roster: Roster, book: FaultRegistry) -> None:
        self._options = options
        self._roster = roster
        self._book = book

    def is_stream(self, request: Request) -> bool:
        """See ``Site``."""
        return request.path == "/stream"

    def body(self, request: Request, writer: asyncio.StreamWriter, outlet: Outlet) -> Body:
        """See ``Site``."""
        try:
            session = self._roster.get(request.query.get("sessionId", ""))
        except UnknownSession:
            return _NotFound(writer, outlet)
        assert isinstance(session, SnapshotSession)  # noqa: S101 - this kind of server has no other
        return SnapshotBody(session, writer, outlet, self._options, book=self._book, is_mute=request.method == "HEAD")

    async def answer(self, _request: Request) -> Answer:
        """See ``Site``."""
        return Answer(200, b"Mix agent server\n", "text/plain; charset=utf-8")


class _NotFound:
    """A stream of no session."""

    def __init__(self, writer: asyncio.StreamWriter, outlet: Outlet) -> None:
        self.reader = Reader(0, writer.transport)
        self._outlet = outlet

    async def run(self) -> None:
        """One error, then the end of the body."""
        try:
            self._outlet.write_own(snapshot_block(encode("error", {"error": "session not found"})))
            self._outlet.end()
            await self._outlet.drain()
        except Severed as severed:
            await self._outlet.sever(severed.how)


class SnapshotBody:
    """One open stream."""

    def __init__(  # noqa: PLR0913 - what a stream is made of
        self,
        session: SnapshotSession,
        writer: asyncio.StreamWriter,
        outlet: Outlet,
        options: ServerOptions,
        *,
        book: FaultRegistry,
        is_mute: bool,
    ) -> None:
        self._session = session
        self._outlet = outlet
        self._options = options
        self._is_mute = is_mute
        self._reader = SnapshotReader(writer.transport)
        self.reader: Reader = self._reader
        self._middleware = FaultMiddleware(book, session.facts.id, self.reader, outlet)
        self._old_at = monotonic() + options.connection_age

    async def run(self) -> None:
        """See ``Body``."""
        self._session.attach(self.reader)
        alarm = asyncio.get_running_loop().create_task(self._beat())
        try:
            await self._middleware.face()
            self._send_own(encode("connected", {"sessionId": self._session.facts.id}))
            await self._send_events()
        except Severed as severed:
            await self._outlet.sever(severed.how)
        finally:
            alarm.cancel()
            self._session.detach(self.reader)

    async def _send_events(self) -> None:
        reader = self._reader
        while not reader.ended:
            if self._middleware.is_news:
                await self._middleware.face()
            if reader.heartbeat_due:
                self._heartbeat()
            if reader.queue:
                await self._send_some()
            elif self._session.closed:
                raise Severed("fin" if self._is_mute else "end")
            else:
                await reader.notifier.wait()
        raise Severed(reader.ending)

    async def _send_some(self) -> None:
        """Several events go in one chunk when several wait; a reader that does not read lets its queue fill."""
        blocks = self._reader.take(_TOGETHER)
        if not self._is_mute:
            self._outlet.write(http_chunk(blocks))
            await self._outlet.drain()
            self._session.handed(self._reader)

    def _heartbeat(self) -> None:
        self._reader.heartbeat_due = False
        if self._session.is_running:
            return
        if monotonic() >= self._old_at:
            raise Severed("fin")
        self._send_own(_HEARTBEAT)

    def _send_own(self, event: ScriptedEvent) -> None:
        if not self._is_mute:
            self._outlet.write_own(snapshot_block(event))

    async def _beat(self) -> None:
        while self._options.heartbeat:
            await asyncio.sleep(self._options.heartbeat)  # ended by cancel()
            self.reader.want_heartbeat()
