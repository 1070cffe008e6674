"""The HTTP interface of the published contract. Thread rule: the server's event loop thread.

- ``GET /stream?sessionId=ID`` with optional ``Last-Event-ID``: the event stream
- ``GET /api/sessions?includeSubagents=BOOL``, ``POST /api/sessions`` ``{"title"}``, ``DELETE /api/sessions/ID``
- ``GET /health``
"""

from __future__ import annotations

from bridge import __version__
from bridge.clock import rfc3339, unix_ms
from bridge.simulator.faults.registry import FaultRegistry
from bridge.simulator.server.body_writer import BodyWriter
from bridge.simulator.server.event_stream import ContractStream, ReplayableSession
from bridge.simulator.server.http_server import Refused, Request, Response, Router
from bridge.simulator.server.options import ServerOptions
from bridge.simulator.server.session_table import SessionTable


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
