"""The one HTTP endpoint of all workers."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge import __version__
from bridge.observe.api import guarded
from bridge.observe.health import LOOP_LIMIT
from bridge.observe.json_response import json_response
from bridge.observe.log_levels import LevelChange, LogLevels
from bridge.observe.metrics.of_bridge import Seats
from bridge.observe.operator_routes import log_level_route, refuse_others, support
from bridge.observe.page.feed import Feed
from bridge.observe.page.routes import page_routes
from bridge.observe.tokens import Tokens
from bridge.settings import Settings
from bridge.workers.merge import OfWorker, Series, Totals, merged_checks, merged_metrics, merged_status
from bridge.workers.queries import HEALTH, Workers
from bridge.workers.views import of_workers

Own = Callable[[], Mapping[str, Any]]
"""What the parent says of itself: the members of ``bridge`` in ``/api/status``."""


def application(  # noqa: PLR0913, PLR0917 - what the routes need, given once
    workers: Workers,
    own: Own,
    loop_age: Callable[[], float],
    seats: Callable[[], Seats],
    levels: LogLevels,
    tokens: Tokens,
) -> tuple[Starlette, Feed]:
    """The routes, and the feed of the page. Most functions run on a pool of threads: they wait for the workers."""
    totals, feed = Totals[Series](), Feed(of_workers(workers, own, seats))

    def livez(_: Request) -> Response:
        age = loop_age()
        check = {"name": "loop:parent", "ok": age < LOOP_LIMIT, "detail": f"moved {age:.1f} s ago"}
        # The parent itself ends a worker that hangs: a restart of everything would not help more.
        restarting = [{**each, "ok": True} for each in _running(seats())]
        return _health({"ok": check["ok"], "checks": [check, *restarting]})

    def readyz(_: Request) -> Response:
        return _health(merged_checks(workers.documents("/readyz", HEALTH)))

    def api_status(_: Request) -> Response:
        return json_response(merged_status(workers.documents("/api/status"), own()))

    def metrics_text(request: Request) -> Response:
        texts = [OfWorker(number, answer and answer.text) for number, answer in workers.ask_all("/metrics")]
        found = merged_metrics(texts, seats(), totals, request.headers.get("accept", ""))
        return Response(found.body, media_type=found.content_type)

    def session(request: Request) -> Response:
        path = request.scope["raw_path"].decode("ascii")  # as it came: an id may contain `%` or `?`
        found = [answer for _, answer in workers.ask_all(path) if answer and answer.status == HTTPStatus.OK]
        if not found:
            return json_response({"error": "no worker runs this session"}, HTTPStatus.NOT_FOUND)
        return Response(found[0].text, media_type="application/json")

    def support_of_all(request: Request) -> Response:
        found = {each.number: each.body for each in workers.documents("/api/support")}
        return refuse_others(request, tokens) or json_response({"parent": support(), "workers": found})

    def forward(change: LevelChange) -> None:
        body = {"level": change.level, "logger": change.logger, "for": change.seconds}
        workers.ask_all("/api/log-level", json.dumps(body).encode())

    routes = [
        *page_routes(feed),
        Route("/livez", livez),
        Route("/readyz", readyz),
        Route("/api/status", api_status),
        Route("/metrics", metrics_text),
        Route("/api/sessions/{path:path}", session),
        Route("/api/support", support_of_all),
        log_level_route(levels, tokens, forward),
    ]
    return guarded(routes, tokens), feed


def own_status(settings: Settings, started_ms: int) -> dict[str, Any]:
    """What the parent says of itself in ``/api/status``."""
    host = socket.gethostname()
    return {
        "version": __version__,
        "namespace": settings.namespace,
        "owner": f"{settings.instance or host}:{os.getpid()}",
        "instance": settings.instance,
        "host": host,
        "pid": os.getpid(),
        "started_at_ms": started_ms,
    }


def _running(seats: Seats) -> Iterator[dict[str, Any]]:
    for number, (is_up, restarts) in seats.items():
        state = "runs" if is_up else "is being started again"
        yield {"name": f"worker-{number}", "detail": f"{state}; started again {restarts} times"}


def _health(body: Mapping[str, Any]) -> Response:
    return json_response(body, HTTPStatus.OK if body["ok"] else HTTPStatus.SERVICE_UNAVAILABLE)
