"""What the simulated server answers. Event loop thread only.

The contract:

- ``GET /stream?sessionId=ID`` with optional ``Last-Event-ID``: the event stream
- ``GET /api/sessions?includeSubagents=BOOL``, ``POST /api/sessions`` ``{"title"}``, ``DELETE /api/sessions/ID``
- ``GET /health``

For tests:

- ``POST /control/sessions`` ``{"id", "title", "parent", "createdAt" (Unix seconds), "rate", "events"}``, all optional:
  a session; with ``parent`` a subagent's
- ``POST /control/sessions/ID/burst`` ``{"count": N}``: the agent's next N events, now
- ``POST /control/sessions/ID/events`` ``{"events": [{"event", "data"}]}``: exactly these; data is the text of the event
- ``POST /control/sessions/ID/disconnect``: cut its streams
- ``POST /control/pause``, ``POST /control/resume``: all agents
- ``GET /control/sessions``: per session how many events were published and how many readers there are
- ``GET /control/journal?session=ID&after=SEQUENCE&limit=N``: journal lines (JSON lines), deleted sessions too; at most
  10,000 at a time: ask again after the last
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import h11

from bridge import __version__
from bridge.clock import rfc3339, unix_ms
from bridge.demo.agent_script import ScriptedEvent
from bridge.demo.event_stream import EventStreamBody
from bridge.demo.http_edge import Answer, Exchange, Refused, Request
from bridge.demo.roster import Roster, UnknownSession
from bridge.demo.server_options import ServerOptions
from bridge.demo.sessions import Session
from bridge.demo.wire import EVENT_STREAM_TYPE

_JOURNAL_PAGE = 10_000
# What a request may choose about a session: the name of ``Roster.create`` for it, and its type.
_CHOICES: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "id": ("session_id", str),
    "title": ("title", str),
    "parent": ("parent", str),
    "createdAt": ("created", float),
    "rate": ("rate", float),
    "events": ("events", int),
}

Handler = Callable[[Request, str], Awaitable[Answer]]


class Routes:
    """Takes connections, finds the answer to each request, keeps the open ones to end them."""

    def __init__(self, options: ServerOptions, roster: Roster) -> None:
        self._options = options
        self._roster = roster
        self._connections: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.Task[None]] = set()
        self._table: list[tuple[str, re.Pattern[str], Handler]] = [
            ("GET", re.compile("/health"), self._health),
            ("GET", re.compile("/api/sessions"), self._list),
            ("POST", re.compile("/api/sessions"), self._create),
            ("DELETE", re.compile("/api/sessions/(.+)"), self._delete),
            ("POST", re.compile("/control/sessions"), self._create_chosen),
            ("POST", re.compile("/control/sessions/(.+)/burst"), self._burst),
            ("POST", re.compile("/control/sessions/(.+)/events"), self._publish),
            ("POST", re.compile("/control/sessions/(.+)/disconnect"), self._disconnect),
            ("POST", re.compile("/control/(pause|resume)"), self._pause_or_resume),
            ("GET", re.compile("/control/sessions"), self._counts),
            ("GET", re.compile("/control/journal"), self._journal),
        ]

    # --- connections

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first request to its end."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - we are in one
        self._connections.add(task)
        try:
            await self._converse(Exchange(reader, writer), task)
        except (OSError, h11.RemoteProtocolError, asyncio.CancelledError):
            writer.transport.abort()  # the client is gone, or the server is: nobody to tell
        finally:
            self._connections.discard(task)
            writer.close()

    async def close(self, patience: float) -> None:
        """Wait up to ``patience`` seconds for streams to take what is left, then cut what is still open."""
        for task in self._idle:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=patience)
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _converse(self, exchange: Exchange, task: asyncio.Task[None]) -> None:
        while (request := await self._next_request(exchange, task)) is not None:
            if request.path == "/stream" and request.method == "GET":
                if await self._stream(exchange, request):
                    return
            else:
                await exchange.answer(await self._answer(request))

    async def _next_request(self, exchange: Exchange, task: asyncio.Task[None]) -> Request | None:
        self._idle.add(task)
        try:
            return await exchange.next_request()
        finally:
            self._idle.discard(task)

    async def _stream(self, exchange: Exchange, request: Request) -> bool:
        """Serve a stream to its end; False if it was refused and the connection goes on."""
        try:
            session = self._session_to_stream(request)
        except Refused as refused:
            await exchange.answer(Answer.refusal(refused))
            return False
        exchange.begin_chunked(EVENT_STREAM_TYPE, [("Cache-Control", "no-cache")])
        body = EventStreamBody(session, exchange.writer, self._options, request.headers.get("last-event-id"))
        departure = asyncio.get_running_loop().create_task(_departure(exchange.reader, body))
        try:
            await body.run()
        finally:
            departure.cancel()
        return True

    def _session_to_stream(self, request: Request) -> Session:
        if request.http_version == "1.0":
            raise Refused(505, "streams are chunked: HTTP/1.1 is needed")
        if not request.query.get("sessionId"):
            raise Refused(400, "sessionId is missing")
        return self._known(request.query["sessionId"])

    # --- answers

    async def _answer(self, request: Request) -> Answer:
        try:
            handler, name = self._find(request)
            return await handler(request, name)
        except Refused as refused:
            return Answer.refusal(refused)
        except UnknownSession as unknown:
            return Answer.refusal(Refused(404, f"session {unknown.args[0]} not found"))
        except KeyError as missing:
            return Answer.refusal(Refused(400, f"{missing.args[0]} is missing"))
        except (ValueError, TypeError) as wrong:
            return Answer.refusal(Refused(400, str(wrong)))

    def _find(self, request: Request) -> tuple[Handler, str]:
        matches = [
            (method, match, handler) for method, path, handler in self._table if (match := path.fullmatch(request.path))
        ]
        for method, match, handler in matches:
            if method == request.method:
                return handler, match.group(1) if match.groups() else ""
        if matches or request.path == "/stream":
            raise Refused(405, f"{request.method} is not possible here")
        raise Refused(404, f"{request.path} not found")

    def _known(self, session_id: str) -> Session:
        try:
            return self._roster.get(session_id)
        except UnknownSession as unknown:
            raise Refused(404, f"session {session_id} not found") from unknown

    async def _health(self, _request: Request, _: str) -> Answer:
        return Answer.of({"status": "ok", "timestamp": rfc3339(unix_ms()), "version": __version__})

    async def _list(self, request: Request, _: str) -> Answer:
        subagents = request.query.get("includeSubagents", "false").lower() == "true"
        return Answer.of([_listed(s) for s in self._roster.all() if subagents or s.facts.parent is None])

    async def _create(self, request: Request, _: str) -> Answer:
        title = request.json().get("title")
        if not isinstance(title, str) or not title:
            raise Refused(400, "title is missing")
        return Answer.of(_listed(self._roster.create(title=title)), 201)

    async def _create_chosen(self, request: Request, _: str) -> Answer:
        chosen = dict(_chosen(key, value) for key, value in request.json().items())
        return Answer.of(_listed(self._roster.create(**chosen)), 201)

    async def _delete(self, _request: Request, session_id: str) -> Answer:
        self._roster.delete(session_id)
        return Answer(204)

    async def _burst(self, request: Request, session_id: str) -> Answer:
        await self._roster.burst(session_id, int(request.json()["count"]))
        return self._count_of(session_id)

    async def _publish(self, request: Request, session_id: str) -> Answer:
        await self._roster.publish(session_id, [_event_of(event) for event in request.json()["events"]])
        return self._count_of(session_id)

    async def _disconnect(self, _request: Request, session_id: str) -> Answer:
        return Answer.of({"streams": self._roster.disconnect(session_id)})

    async def _pause_or_resume(self, _request: Request, which: str) -> Answer:
        (self._roster.pause if which == "pause" else self._roster.resume)()
        return Answer.of({})

    async def _counts(self, _request: Request, _: str) -> Answer:
        return Answer.of(
            [
                {"id": s.facts.id, "published": self._roster.published(s), "readers": len(s.readers)}
                for s in self._roster.all()
            ]
        )

    def _count_of(self, session_id: str) -> Answer:
        return Answer.of({"published": self._roster.published(self._roster.get(session_id))})

    async def _journal(self, request: Request, _: str) -> Answer:
        query = request.query
        limit = min(_JOURNAL_PAGE, int(query.get("limit", _JOURNAL_PAGE)))
        entries = self._roster.journal(query.get("session", ""), int(query.get("after", 0)), limit)
        return Answer(200, b"".join(entry.to_line() for entry in entries), "application/x-ndjson")


async def _departure(reader: asyncio.StreamReader, body: EventStreamBody) -> None:
    """End the stream when its client closes; what a client says on an open stream is not listened to."""
    while True:
        try:
            said = await reader.read(4096)
        except OSError:
            said = b""
        if not said:
            body.reader.end()
            return


def _chosen(key: str, value: object) -> tuple[str, Any]:
    if key not in _CHOICES:
        raise Refused(400, f"{key} is unknown, possible are {', '.join(_CHOICES)}")
    name, kind = _CHOICES[key]
    return name, kind(value)


def _event_of(event: dict[str, Any]) -> ScriptedEvent:
    name, data = event["event"], event["data"]
    if any(end in name for end in "\r\n") or "\r" in data:
        raise Refused(400, "an event's name has no line end and its data no CR: the format cannot carry them")
    return ScriptedEvent(name, data.encode())


def _listed(session: Session) -> dict[str, Any]:
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
