"""The control API of the simulated server, the same for every kind, and the log of requests.

- ``POST /control/sessions`` ``{"id", "title", "parent", "createdAt" (Unix seconds), "rate", "events"}``, all optional:
  create a session; with ``parent`` a subagent's
- ``DELETE /control/sessions/ID``
- ``POST /control/sessions/ID/burst`` ``{"count": N}``: publish the agent's next N events now
- ``POST /control/sessions/ID/events`` ``{"events": [{"event", "data"}]}``: publish these; data is the event's text
- ``POST /control/sessions/ID/poison`` ``{"kind", "size"}``: publish one malformed event
- ``POST /control/sessions/ID/disconnect``: cut its streams
- ``POST /control/pause``, ``POST /control/resume``: all agents
- ``GET /control/sessions``: per session how many events were published, and how many readers there are and were
- ``GET /control/journal?session=ID&after=SEQUENCE&limit=N``: journal lines (JSON lines), deleted sessions too; at most
  10,000 at a time, continue after the last one
- ``GET /control/lost?session=ID``: the sequences that no reader received whole and none can receive any more
- ``POST /control/faults`` ``{"kind", …}`` (see ``faults.kinds``): inject a fault; ``GET``: list all; ``DELETE``:
  end all, ``DELETE /control/faults/NUMBER``: end one
- ``GET /control/requests?after=NUMBER&path=PATH&session=ID``: the requests with their headers
- ``GET /control/streams?after=NUMBER``: the streams, with the times when they were open
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bridge.clock import monotonic, unix_ms
from bridge.simulator.faults.injector import FaultInjector
from bridge.simulator.faults.kinds import MalformedEvent, parse_fault
from bridge.simulator.faults.registry import FaultRegistry
from bridge.simulator.scripts.agent_script import ScriptedEvent
from bridge.simulator.server.http_server import Refused, Request, Response, Router
from bridge.simulator.server.session_table import SessionTable

_JOURNAL_PAGE = 10_000
_REQUESTS_KEPT = 10_000
_STREAMS_KEPT = 20_000
# What a request may choose about a session: the parameter of ``SessionTable.create`` and its type.
_SESSION_FIELDS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "id": ("session_id", str),
    "title": ("title", str),
    "parent": ("parent", str),
    "createdAt": ("created", float),
    "rate": ("rate", float),
    "events": ("events", int),
}


class RequestLog:
    """Keeps the newest requests and streams as JSON objects. The control API's requests are not among them."""

    def __init__(self) -> None:
        self._requests: deque[dict[str, Any]] = deque(maxlen=_REQUESTS_KEPT)
        self._streams: deque[dict[str, Any]] = deque(maxlen=_STREAMS_KEPT)
        self._request_count = self._stream_count = 0

    def add(self, request: Request, place: str = "server") -> None:
        """Log a request. ``place``: ``server``, or ``elsewhere`` for the host that redirects lead to."""
        self._request_count += 1
        self._requests.append(
            {
                "number": self._request_count,
                "at": unix_ms() / 1000,
                "place": place,
                "method": request.method,
                "path": request.path,
                "query": dict(request.query),
                "headers": dict(request.headers),
            }
        )

    @contextmanager
    def open_stream(self, request: Request) -> Iterator[None]:
        """Log a stream, which is open as long as the context. The clock is the same for all processes of a machine."""
        self._stream_count += 1
        entry: dict[str, Any] = {
            "number": self._stream_count,
            "session": request.query.get("sessionId"),
            "headers": dict(request.headers),
            "opened": monotonic(),
            "closed": None,
        }
        self._streams.append(entry)
        try:
            yield
        finally:
            entry["closed"] = monotonic()

    def requests(self, after: int = 0, path: str | None = None, session: str | None = None) -> list[dict[str, Any]]:
        """Return the kept requests above a number, oldest first; only of one path, only of one session's streams."""
        return [
            each
            for each in self._requests
            if each["number"] > after
            and path in {None, each["path"]}
            and session in {None, each["query"].get("sessionId")}
        ]

    def streams(self, after: int = 0) -> list[dict[str, Any]]:
        return [each for each in self._streams if each["number"] > after]


class Control:
    """Answers all requests below ``/control``."""

    def __init__(
        self, sessions: SessionTable, registry: FaultRegistry, injector: FaultInjector, log: RequestLog
    ) -> None:
        self._sessions = sessions
        self._registry = registry
        self._injector = injector
        self._log = log
        self.answer = Router(
            ("POST", "/control/sessions", self._create),
            ("GET", "/control/sessions", self._counters),
            ("DELETE", "/control/sessions/(.+)", self._delete),
            ("POST", "/control/sessions/(.+)/burst", self._burst),
            ("POST", "/control/sessions/(.+)/events", self._publish),
            ("POST", "/control/sessions/(.+)/poison", self._publish_malformed),
            ("POST", "/control/sessions/(.+)/disconnect", self._disconnect),
            ("POST", "/control/pause", self._pause),
            ("POST", "/control/resume", self._resume),
            ("GET", "/control/journal", self._journal),
            ("GET", "/control/lost", self._lost),
            ("POST", "/control/faults", self._inject),
            ("GET", "/control/faults", self._faults),
            ("DELETE", r"/control/faults(?:/(\d+))?", self._clear),
            ("GET", "/control/requests", self._requests),
            ("GET", "/control/streams", self._streams),
        ).answer

    async def _create(self, request: Request) -> Response:
        chosen = dict(_session_field(key, value) for key, value in request.json().items())
        return Response.of(self._sessions.create(**chosen).info.to_json(), 201)

    async def _counters(self, _request: Request) -> Response:
        return Response.of([{"id": s.info.id, **s.counters()} for s in self._sessions.all()])

    async def _delete(self, _request: Request, session_id: str) -> Response:
        self._sessions.delete(session_id)
        return Response(204)

    async def _burst(self, request: Request, session_id: str) -> Response:
        await self._sessions.burst(session_id, int(request.json()["count"]))
        return self._published(session_id)

    async def _publish(self, request: Request, session_id: str) -> Response:
        events = [_event_of(event) for event in request.json()["events"]]
        await self._sessions.get(session_id).publish(events)
        return self._published(session_id)

    async def _publish_malformed(self, request: Request, session_id: str) -> Response:
        fields = request.json()
        fields["poison"] = fields.pop("kind")
        await self._injector.inject(parse_fault({**fields, "kind": MalformedEvent.kind, "session": session_id}))
        return self._published(session_id)

    async def _disconnect(self, _request: Request, session_id: str) -> Response:
        return Response.of({"streams": self._sessions.disconnect(session_id)})

    async def _pause(self, _request: Request) -> Response:
        self._sessions.pause()
        return Response.of({})

    async def _resume(self, _request: Request) -> Response:
        self._sessions.resume()
        return Response.of({})

    def _published(self, session_id: str) -> Response:
        return Response.of({"published": self._sessions.get(session_id).head})

    async def _journal(self, request: Request) -> Response:
        query = request.query
        limit = min(_JOURNAL_PAGE, int(query.get("limit", _JOURNAL_PAGE)))
        entries = self._sessions.journal(query.get("session", ""), int(query.get("after", 0)), limit)
        return Response(200, b"".join(entry.to_line() for entry in entries), "application/x-ndjson")

    async def _lost(self, request: Request) -> Response:
        spans = self._sessions.get(request.query["session"]).lost()
        return Response.of({"count": sum(last - first + 1 for first, last in spans), "spans": spans})

    async def _requests(self, request: Request) -> Response:
        query = request.query
        return Response.of(self._log.requests(int(query.get("after", 0)), query.get("path"), query.get("session")))

    async def _streams(self, request: Request) -> Response:
        return Response.of(self._log.streams(int(request.query.get("after", 0))))

    async def _inject(self, request: Request) -> Response:
        return Response.of((await self._injector.inject(parse_fault(request.json()))).to_json(), 201)

    async def _faults(self, _request: Request) -> Response:
        return Response.of([each.to_json() for each in self._registry.records()])

    async def _clear(self, _request: Request, number: str | None) -> Response:
        return Response.of({"cleared": self._registry.clear(int(number) if number else None)})


def _session_field(key: str, value: object) -> tuple[str, Any]:
    if key not in _SESSION_FIELDS:
        raise Refused(400, f"{key} is unknown, possible are {', '.join(_SESSION_FIELDS)}")
    name, kind = _SESSION_FIELDS[key]
    return name, kind(value)


def _event_of(event: dict[str, Any]) -> ScriptedEvent:
    name, data = event["event"], event["data"]
    if any(end in name for end in "\r\n") or "\r" in data:
        raise Refused(400, "an event's name has no line end and its data no CR: the format cannot carry them")
    return ScriptedEvent(name, data.encode())
