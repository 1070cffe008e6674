"""What tests and people at a terminal may ask of the simulated server, of whichever kind. Event loop thread only.

- ``POST /control/sessions`` ``{"id", "title", "parent", "createdAt" (Unix seconds), "rate", "events"}``, all optional:
  a session; with ``parent`` a subagent's
- ``DELETE /control/sessions/ID``
- ``POST /control/sessions/ID/burst`` ``{"count": N}``: the agent's next N events, now
- ``POST /control/sessions/ID/events`` ``{"events": [{"event", "data"}]}``: exactly these; data is the text of the event
- ``POST /control/sessions/ID/poison`` ``{"kind", "size"}``: one event that trips careless readers
- ``POST /control/sessions/ID/disconnect``: cut its streams
- ``POST /control/pause``, ``POST /control/resume``: all agents
- ``GET /control/sessions``: per session how many events were published, how many readers there are and were
- ``GET /control/journal?session=ID&after=SEQUENCE&limit=N``: journal lines (JSON lines), deleted sessions too; at most
  10,000 at a time: ask again after the last
- ``GET /control/lost?session=ID``: the sequences that no reader was handed whole and none can get any more
- ``POST /control/faults`` ``{"kind", …}`` (see ``fault_orders``): a fault; ``GET``: all there is and was; ``DELETE``:
  end all, ``DELETE /control/faults/NUMBER``: end one
- ``GET /control/requests?after=NUMBER&path=PATH&session=ID``: who asked for what, headers included
- ``GET /control/streams?after=NUMBER``: which streams there were, from when to when
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bridge.simulator.faults.injector import FaultInjector
from bridge.simulator.faults.kinds import Poison
from bridge.simulator.faults.requests import Order, order_of
from bridge.simulator.scripts.agent_script import ScriptedEvent
from bridge.simulator.server.contract import listed
from bridge.simulator.server.http_edge import Answer, Refused, Request
from bridge.simulator.server.request_log import RequestLog
from bridge.simulator.server.routes import Route, Routes
from bridge.simulator.server.session_table import Roster
from bridge.simulator.server.stream_log import StreamLog

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


class Control:
    """Answers everything below ``/control``."""

    def __init__(self, roster: Roster, injector: FaultInjector, log: RequestLog, streams: StreamLog) -> None:
        self._roster = roster
        self._injector = injector
        self._log = log
        self._streams = streams
        self._routes = Routes(
            [
                Route("POST", "/control/sessions", self._create),
                Route("GET", "/control/sessions", self._counts),
                Route("DELETE", "/control/sessions/(.+)", self._delete),
                Route("POST", "/control/sessions/(.+)/burst", self._burst),
                Route("POST", "/control/sessions/(.+)/events", self._publish),
                Route("POST", "/control/sessions/(.+)/poison", self._poison),
                Route("POST", "/control/sessions/(.+)/disconnect", self._disconnect),
                Route("POST", "/control/(pause|resume)", self._pause_or_resume),
                Route("GET", "/control/journal", self._journal),
                Route("GET", "/control/lost", self._lost),
                Route("POST", "/control/faults", self._order),
                Route("GET", "/control/faults", self._faults),
                Route("DELETE", "/control/faults", self._clear),
                Route("DELETE", r"/control/faults/(\d+)", self._clear),
                Route("GET", "/control/requests", self._requests),
                Route("GET", "/control/streams", self._streams_after),
            ]
        )

    async def answer(self, request: Request) -> Answer:
        """See ``Routes``."""
        return await self._routes.answer(request)

    # --- sessions and what is said in them

    async def _create(self, request: Request, _: str) -> Answer:
        chosen = dict(_chosen(key, value) for key, value in request.json().items())
        return Answer.of(listed(self._roster.create(**chosen)), 201)

    async def _counts(self, _request: Request, _: str) -> Answer:
        return Answer.of([{"id": s.facts.id, **s.facts_for_tests()} for s in self._roster.all()])

    async def _delete(self, _request: Request, session_id: str) -> Answer:
        self._roster.delete(session_id)
        return Answer(204)

    async def _burst(self, request: Request, session_id: str) -> Answer:
        await self._roster.burst(session_id, int(request.json()["count"]))
        return self._count_of(session_id)

    async def _publish(self, request: Request, session_id: str) -> Answer:
        await self._roster.publish(session_id, [_event_of(event) for event in request.json()["events"]])
        return self._count_of(session_id)

    async def _poison(self, request: Request, session_id: str) -> Answer:
        asked = request.json()
        order = order_of({"kind": Poison.kind, "poison": asked.pop("kind"), **asked, "session": session_id})
        await self._injector.order(order)
        return self._count_of(session_id)

    async def _disconnect(self, _request: Request, session_id: str) -> Answer:
        return Answer.of({"streams": self._roster.disconnect(session_id)})

    async def _pause_or_resume(self, _request: Request, which: str) -> Answer:
        (self._roster.pause if which == "pause" else self._roster.resume)()
        return Answer.of({})

    def _count_of(self, session_id: str) -> Answer:
        return Answer.of({"published": self._roster.get(session_id).head})

    # --- the truth

    async def _journal(self, request: Request, _: str) -> Answer:
        query = request.query
        limit = min(_JOURNAL_PAGE, int(query.get("limit", _JOURNAL_PAGE)))
        entries = self._roster.journal(query.get("session", ""), int(query.get("after", 0)), limit)
        return Answer(200, b"".join(entry.to_line() for entry in entries), "application/x-ndjson")

    async def _lost(self, request: Request, _: str) -> Answer:
        spans = self._roster.talk(request.query["session"]).lost()
        return Answer.of({"count": sum(last - first + 1 for first, last in spans), "spans": spans})

    async def _requests(self, request: Request, _: str) -> Answer:
        query = request.query
        return Answer.of(self._log.after(int(query.get("after", 0)), query.get("path"), query.get("session")))

    async def _streams_after(self, request: Request, _: str) -> Answer:
        return Answer.of(self._streams.after(int(request.query.get("after", 0))))

    # --- faults

    async def _order(self, request: Request, _: str) -> Answer:
        order: Order = order_of(request.json())
        return Answer.of((await self._injector.order(order)).to_json(), 201)

    async def _faults(self, _request: Request, _: str) -> Answer:
        return Answer.of([each.to_json() for each in self._injector.reports()])

    async def _clear(self, _request: Request, number: str) -> Answer:
        return Answer.of({"cleared": self._injector.clear(int(number) if number else None)})


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
