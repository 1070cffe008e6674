"""The published contract, as the simulated server keeps it. Event loop thread only.

- ``GET /stream?sessionId=ID`` with optional ``Last-Event-ID``: the event stream
- ``GET /api/sessions?includeSubagents=BOOL``, ``POST /api/sessions`` ``{"title"}``, ``DELETE /api/sessions/ID``
- ``GET /health``
"""

from __future__ import annotations

import asyncio
from typing import Any

from bridge import __version__
from bridge.clock import rfc3339, unix_ms
from bridge.simulator.faults.registry import FaultRegistry
from bridge.simulator.server.body_writer import Outlet
from bridge.simulator.server.event_stream import EventStreamBody
from bridge.simulator.server.http_edge import Answer, Refused, Request
from bridge.simulator.server.options import ServerOptions
from bridge.simulator.server.routes import Route, Routes
from bridge.simulator.server.session_table import Roster, UnknownSession
from bridge.simulator.server.sessions import Session, TrackSession
from bridge.simulator.server.site import Body


class ContractSite:
    """What it answers to readers."""

    def __init__(self, options: ServerOptions, roster: Roster, book: FaultRegistry) -> None:
        self._options = options
        self._roster = roster
        self._book = book
        self._routes = Routes(
            [
                Route("GET", "/health", self._health),
                Route("GET", "/api/sessions", self._list),
                Route("POST", "/api/sessions", self._create),
                Route("DELETE", "/api/sessions/(.+)", self._delete),
            ]
        )

    def is_stream(self, request: Request) -> bool:
        """See ``Site``."""
        return request.path == "/stream" and request.method == "GET"

    def body(self, request: Request, writer: asyncio.StreamWriter, outlet: Outlet) -> Body:
        """See ``Site``."""
        session_id = request.query.get("sessionId")
        if not session_id:
            raise Refused(400, "sessionId is missing")
        try:
            session = self._roster.get(session_id)
        except UnknownSession as unknown:
            raise Refused(404, f"session {session_id} not found") from unknown
        assert isinstance(session, TrackSession)  # noqa: S101 - this kind of server has no other
        last_event_id = request.headers.get("last-event-id")
        return EventStreamBody(session, writer, outlet, self._options, book=self._book, last_event_id=last_event_id)

    async def answer(self, request: Request) -> Answer:
        """See ``Site``."""
        return await self._routes.answer(request)

    async def _health(self, _request: Request, _: str) -> Answer:
        return Answer.of({"status": "ok", "timestamp": rfc3339(unix_ms()), "version": __version__})

    async def _list(self, request: Request, _: str) -> Answer:
        subagents = request.query.get("includeSubagents", "false").lower() == "true"
        return Answer.of([listed(s) for s in self._roster.all() if subagents or s.facts.parent is None])

    async def _create(self, request: Request, _: str) -> Answer:
        title = request.json().get("title")
        if not isinstance(title, str) or not title:
            raise Refused(400, "title is missing")
        return Answer.of(listed(self._roster.create(title=title)), 201)

    async def _delete(self, _request: Request, session_id: str) -> Answer:
        self._roster.delete(session_id)
        return Answer(204)


def listed(session: Session) -> dict[str, Any]:
    """A session as ``GET /api/sessions`` tells of it."""
    facts = session.facts
    listed = {
        "id": facts.id,
        "title": facts.title,
        "sessionType": "main" if facts.parent is None else "subagent",
        "createdAt": rfc3339(int(facts.created * 1000)),
        "browserMode": "local-browser-service",
        "userMessageCount": facts.user_messages,
        "assistantMessageCount": facts.assistant_messages,
        "toolCallCount": facts.tool_calls,
        "promptTokens": 900 * facts.user_messages,
        "completionTokens": 350 * facts.assistant_messages,
        "cost": round(0.012 * facts.assistant_messages, 6),
    }
    if facts.parent is not None:
        listed |= {"parentSessionId": facts.parent, "subagentType": "general-purpose"}
    return listed
