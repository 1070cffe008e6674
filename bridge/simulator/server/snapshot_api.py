"""The HTTP interface of the public server snapshot of August 2025, as observed.

It sends no ids, no reconnection time and no comments; ``Last-Event-ID`` is ignored and nothing is replayed. A heartbeat
is sent only while no message runs, and each connection ends without a last chunk at the first heartbeat after
``connection_age``. An unknown session is 200 with one ``error`` event; any other path is 200 ``text/plain``. Any method
on ``/stream`` opens a stream.
"""

from __future__ import annotations

from itertools import islice

from bridge.clock import monotonic
from bridge.simulator.encoding import event_block, http_chunk
from bridge.simulator.faults.registry import FaultRegistry
from bridge.simulator.scripts.agent_script import encode
from bridge.simulator.server.body_writer import BodyEnded, BodyWriter
from bridge.simulator.server.event_stream import EventStream
from bridge.simulator.server.http_server import Request, Response
from bridge.simulator.server.options import ServerOptions
from bridge.simulator.server.session_table import SessionTable, UnknownSession
from bridge.simulator.server.sessions import Reader
from bridge.simulator.server.snapshot_session import PER_CHUNK, SnapshotSession


class SnapshotApi:
    """Answers the requests of clients."""

    def __init__(self, options: ServerOptions, sessions: SessionTable, registry: FaultRegistry) -> None:
        self._options = options
        self._sessions = sessions
        self._registry = registry

    def is_stream(self, request: Request) -> bool:
        return request.path == "/stream"

    def stream(self, request: Request, body: BodyWriter) -> SnapshotStream | _UnknownSessionStream:
        try:
            session = self._sessions.get(request.query.get("sessionId", ""))
        except UnknownSession:
            return _UnknownSessionStream(body)
        assert isinstance(session, SnapshotSession)  # noqa: S101 - this kind of server has no others
        return SnapshotStream(session, body, self._options, self._registry, has_body=request.method != "HEAD")

    async def answer(self, _request: Request) -> Response:
        return Response(200, b"Mix agent server\n", "text/plain; charset=utf-8")


class _UnknownSessionStream:
    """The stream of a session that does not exist."""

    def __init__(self, body: BodyWriter) -> None:
        self.reader = Reader(0, body.transport)
        self._body = body

    async def run(self) -> None:
        try:
            self._body.write_own(event_block(*encode("error", {"error": "session not found"})))
            self._body.end()
            await self._body.drain()
        except BodyEnded as ended:
            await self._body.terminate(ended.how)


class SnapshotStream:
    """One open stream. The response to HEAD has no body."""

    def __init__(
        self,
        session: SnapshotSession,
        body: BodyWriter,
        options: ServerOptions,
        registry: FaultRegistry,
        *,
        has_body: bool,
    ) -> None:
        self._session = session
        self._body = body
        self._options = options
        self._registry = registry
        self._has_body = has_body
        self.reader = Reader(0, body.transport)
        self._too_old_at = monotonic() + options.connection_age

    async def run(self) -> None:
        await EventStream(self, self._session, self._body, self._registry).serve(self._options.heartbeat)

    def send_connected(self) -> None:
        self._send_own("connected", {"sessionId": self._session.info.id})

    def send_heartbeat(self) -> None:
        """Send a heartbeat while no message runs. Raises BodyEnded when the connection is too old."""
        if self._session.is_running or self.reader.queue:  # for the client, a message runs until its last event is sent
            return
        if monotonic() >= self._too_old_at:
            raise BodyEnded("fin")
        self._send_own("heartbeat", {"type": "heartbeat"})

    async def send_events(self) -> bool:
        """Send queued events, several in one chunk. The queue of a client that does not read fills up."""
        if not self.reader.queue:
            if self._session.closed and not self._has_body:
                raise BodyEnded("fin")
            return False
        blocks = [block for _, block in islice(self.reader.queue, PER_CHUNK)]
        if self._has_body:
            self._body.write(http_chunk(b"".join(blocks)))
            await self._body.drain()
        self._session.dequeue(self.reader, len(blocks), is_sent=self._has_body)
        return True

    def _send_own(self, name: str, fields: dict[str, str]) -> None:
        if self._has_body:
            self._body.write_own(event_block(*encode(name, fields)))
