"""The HTTP interface of the published contract.

- ``GET /stream?sessionId=ID`` with optional ``Last-Event-ID``: the event stream
- ``GET /api/sessions?includeSubagents=BOOL``, ``POST /api/sessions`` ``{"title"}``, ``DELETE /api/sessions/ID``
- ``GET /health``
"""

from __future__ import annotations

from bridge import __version__
from bridge.clock import rfc3339, unix_ms
from bridge.simulator.encoding import event_block
from bridge.simulator.faults.kinds import OwnIds, Replay
from bridge.simulator.faults.registry import FaultRegistry
from bridge.simulator.scripts.agent_script import encode
from bridge.simulator.server.agent_session import INITIAL_ID, AgentSession, number_of
from bridge.simulator.server.body_writer import BodyWriter
from bridge.simulator.server.event_stream import EventStream
from bridge.simulator.server.http_server import Refused, Request, Response, Router
from bridge.simulator.server.load_session import LoadSession
from bridge.simulator.server.options import ServerOptions
from bridge.simulator.server.session_table import SessionTable
from bridge.simulator.server.sessions import Reader

ReplayableSession = AgentSession | LoadSession


class ContractApi:
    """Answers the requests of clients."""

    def __init__(self, options: ServerOptions, sessions: SessionTable, registry: FaultRegistry) -> None:
        self._options = options
        self._sessions = sessions
        self._registry = registry
        self.answer = Router(
            ("GET", "/health", self._health),
            ("GET", "/api/sessions", self._list),
            ("POST", "/api/sessions", self._create),
            ("DELETE", "/api/sessions/(.+)", self._delete),
        ).answer

    def is_stream(self, request: Request) -> bool:
        return request.path == "/stream" and request.method == "GET"

    def stream(self, request: Request, body: BodyWriter) -> ContractStream:
        """Return the requested stream. Raises Refused or UnknownSession."""
        session_id = request.query.get("sessionId")
        if not session_id:
            raise Refused(400, "sessionId is missing")
        session = self._sessions.get(session_id)
        assert isinstance(session, ReplayableSession)  # noqa: S101 - this kind of server has no others
        last_event_id = request.headers.get("last-event-id")
        return ContractStream(session, body, self._options, registry=self._registry, last_event_id=last_event_id)

    async def _health(self, _request: Request) -> Response:
        return Response.of({"status": "ok", "timestamp": rfc3339(unix_ms()), "version": __version__})

    async def _list(self, request: Request) -> Response:
        subagents = request.query.get("includeSubagents", "false").lower() == "true"
        return Response.of([s.info.to_json() for s in self._sessions.all() if subagents or s.info.parent is None])

    async def _create(self, request: Request) -> Response:
        title = request.json().get("title")
        if not isinstance(title, str) or not title:
            raise Refused(400, "title is missing")
        return Response.of(self._sessions.create(title=title).info.to_json(), 201)

    async def _delete(self, _request: Request, session_id: str) -> Response:
        self._sessions.delete(session_id)
        return Response(204)


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
        await EventStream(self, self._session, self._body, self._registry).serve(self._options.heartbeat)

    def send_connected(self) -> None:
        self._send_own("connected", {"sessionId": self._session.info.id}, self._options.retry)

    def send_heartbeat(self) -> None:
        self._send_own("heartbeat", {"type": "heartbeat"})

    async def send_events(self) -> bool:
        """Send the next events, if there are any, and wait until the transport has space."""
        session, reader = self._session, self.reader
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
            return self._session.ids.next()[0]
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
