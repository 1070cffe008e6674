"""The HTTP endpoint: health, metrics and status, on a thread of its own.

Each request is answered from a snapshot, on the event loop's thread, without waiting. The cost of clients is limited:
one request per connection, a short lifetime, few connections, four snapshots a second.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.stdlib import get_logger
from uvicorn import Config, Server

from bridge import clock
from bridge.core.snapshot import BridgeSnapshot, status
from bridge.errors import SettingsError
from bridge.http.listening import listen
from bridge.observe.connections import EndpointConfig, Handshakes, LimitedListener, ShortConnection
from bridge.observe.health import Verdict, liveness, readiness
from bridge.observe.json_response import json_response
from bridge.observe.log_levels import LogLevels
from bridge.observe.metrics.collector import Metrics
from bridge.observe.operator_routes import log_level_route, support_route
from bridge.observe.page.feed import Feed
from bridge.observe.page.routes import page_routes, session_route
from bridge.observe.page.view import of_snapshot
from bridge.observe.tokens import Tokens

Snapshot = Callable[[], BridgeSnapshot]

OPEN_PATHS = frozenset({"/livez", "/readyz"})
"""No token needed: a probe may not know it, and neither answer contains anything about a session."""
SNAPSHOT_LIFETIME = 0.25
"""Seconds that a snapshot is reused: a flood of requests costs four snapshots a second, and no probe is affected."""
MAX_HEAD_BYTES = 16 * 1024
"""No probe and no browser sends a larger request head."""

log = get_logger("bridge.http")


class HttpEndpoint:
    """The daemon's HTTP endpoint.

    Thread rule: its owner calls ``start`` once; ``stop`` and ``join`` are for any thread, also before ``start``.
    ``snapshot`` is called on the endpoint's own thread and must not wait. No signal handler is installed.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - where it listens, and what it serves
        self,
        host: str,
        port: int,
        token: str | None,
        snapshot: Snapshot,
        levels: LogLevels | None = None,
        tls: ssl.SSLContext | None = None,
        live: Callable[[], Verdict] | None = None,
    ) -> None:
        """``levels``: can be changed over HTTP; ``tls``: the context of all connections.

        ``live``: the answer of ``/livez``, without the cost of a snapshot; None: from the snapshot.
        """
        self._host = host
        self._port = port
        self.tokens = Tokens(token)
        self._token = token
        self._snapshot = snapshot
        self._levels = levels
        self._tls = tls
        self._live = live
        self.instead: tuple[Starlette, Feed] | None = None
        """Served instead of the daemon's own routes: those over several processes."""
        self._server: _FeedingServer | None = None
        self._thread: threading.Thread | None = None

    def start(self, *, is_worker: bool = False) -> int:
        """Listen for connections and return the port. ``is_worker``: only the parent of this process asks it.

        Raises SettingsError when host, port or token cannot be used.
        """
        if self._token == "":  # an empty password would be accepted
            raise SettingsError.of("http.token", "is empty; set a token, or remove the key to need none")
        handshakes = Handshakes()
        listeners = [LimitedListener(each, handshakes) for each in listen(self._host, self._port)]
        port = int(listeners[0].getsockname()[1])
        self._server = self._make_server(handshakes)
        # A daemon thread: an interpreter that exits after a fault must not wait for an HTTP client.
        run = partial(asyncio.run, _serve(self._server, listeners))
        self._thread = threading.Thread(target=run, name="http", daemon=True)
        self._thread.start()
        # Only this line contains a port that the system chose: it is logged at level warning too.
        is_hidden = self._port == 0 and not logging.getLogger("bridge.http").isEnabledFor(logging.INFO)
        level = log.debug if is_worker else log.warning if is_hidden else log.info
        level("http endpoint listens", host=self._host, port=port, token_needed=self._token is not None)
        return port

    def _make_server(self, handshakes: Handshakes) -> _FeedingServer:
        app, feed = self.instead or self._own_application()
        return _FeedingServer(_config(app, self._tls, handshakes), feed)

    def _own_application(self) -> tuple[Starlette, Feed]:
        snapshot = _CachedSnapshot(self._snapshot)
        feed = Feed(of_snapshot(snapshot))
        live = self._live or (lambda: liveness(snapshot()))
        return application(snapshot, live, self.tokens, feed, self._levels), feed

    def stop(self) -> None:
        """Accept no more connections and finish the running answers. Can be called twice."""
        if self._server is not None:
            self._server.should_exit = True

    def join(self, deadline: float) -> bool:
        """Wait for the end until ``deadline`` (``clock.monotonic``); True when it has ended."""
        if self._thread is None:
            return True
        self._thread.join(max(0.0, deadline - clock.monotonic()))
        return not self._thread.is_alive()


def application(
    snapshot: Snapshot, live: Callable[[], Verdict], tokens: Tokens, feed: Feed, levels: LogLevels | None
) -> Starlette:
    """The routes over a snapshot; the tokens protect all but the open paths."""
    metrics = Metrics(snapshot)

    async def livez(_: Request) -> Response:
        return _health(live())

    async def readyz(_: Request) -> Response:
        return _health(readiness(snapshot()))

    async def api_status(_: Request) -> Response:
        return json_response(status(snapshot()))

    async def metrics_text(request: Request) -> Response:
        found = metrics.render(request.headers.get("accept", ""))
        return Response(found.body, media_type=found.content_type)

    routes = [
        Route("/livez", livez),
        Route("/readyz", readyz),
        Route("/api/status", api_status),
        Route("/metrics", metrics_text),
        *page_routes(feed),
        session_route(snapshot),
        *([] if levels is None else [log_level_route(levels, tokens), support_route(tokens)]),
    ]
    return guarded(routes, tokens)


def guarded(routes: Sequence[Route], tokens: Tokens) -> Starlette:
    """An application with these routes; the tokens protect all but the open paths."""
    app = Starlette(
        routes=routes,
        middleware=[Middleware(_TokenCheck, tokens=tokens)],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    app.router.redirect_slashes = False  # an unknown path is 404
    return app


def authorized(header: bytes, token: bytes) -> bool:
    """Whether an ``Authorization`` header has the token: as Bearer (RFC 6750) or as password of Basic (RFC 7617)."""
    scheme, _, credentials = header.partition(b" ")
    match scheme.lower():
        case b"bearer":
            given = credentials.strip()
        case b"basic":
            given = _password(credentials)
        case _:
            given = b""
    return hmac.compare_digest(given, token)  # its time does not depend on where the first difference is


def _password(credentials: bytes) -> bytes:
    try:
        return base64.b64decode(credentials.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


class _TokenCheck:
    """ASGI middleware: all paths but the open ones need the token, also paths that do not exist."""

    def __init__(self, app: ASGIApp, tokens: Tokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        header = dict(scope["headers"]).get(b"authorization", b"")

        def is_allowed() -> bool:
            is_open = not self._tokens.is_needed or scope["path"] in OPEN_PATHS
            return is_open or any(authorized(header, each.encode()) for each in self._tokens.valid())

        scope["state"]["is_allowed"] = is_allowed  # a stream asks again: its token may be replaced
        await (self._app if is_allowed() else _unauthorized())(scope, receive, send)


class _CachedSnapshot:
    """The last snapshot, or a new one when that is too old. Thread rule: the HTTP thread only."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._last: BridgeSnapshot | None = None
        self._taken_at = 0.0

    def __call__(self) -> BridgeSnapshot:
        now = clock.monotonic()
        if self._last is None or now - self._taken_at > SNAPSHOT_LIFETIME:
            self._last, self._taken_at = self._snapshot(), now
        return self._last


class _FeedingServer(Server):
    """uvicorn's server with the feed of the live page."""

    def __init__(self, config: Config, feed: Feed) -> None:
        super().__init__(config)
        self.feed = feed

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.feed.close()  # otherwise the streams of open pages would be awaited
        await super().shutdown(sockets)


async def _serve(server: _FeedingServer, listeners: Sequence[socket.socket]) -> None:
    feeding = asyncio.create_task(server.feed.run())
    await server.serve(sockets=list(listeners))
    feeding.cancel()
    for connection in list(
        server.server_state.connections
    ):  # uvicorn leaves connections open whose client does not read
        connection.transport.abort()


def _config(app: Starlette, tls: ssl.SSLContext | None, handshakes: Handshakes) -> Config:
    config = EndpointConfig(
        app,
        http=ShortConnection,
        headers=[("Connection", "close")],  # one request per connection: none is ever idle
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_graceful_shutdown=1,  # answers take milliseconds; a slow client must not delay the shutdown
        ws="none",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,  # cli sets up logging
    )
    config.tls, config.handshakes = tls, handshakes
    return config


def _health(verdict: Verdict) -> Response:
    return json_response(verdict.to_json(), HTTPStatus.OK if verdict.ok else HTTPStatus.SERVICE_UNAVAILABLE)


def _unauthorized() -> Response:
    response = json_response({"error": "this path needs the token of http.token"}, HTTPStatus.UNAUTHORIZED)
    response.headers.append("WWW-Authenticate", 'Basic realm="mix-bridge", charset="UTF-8"')
    response.headers.append("WWW-Authenticate", 'Bearer realm="mix-bridge"')
    return response


async def _refused(_: Request, error: Exception) -> Response:
    refusal = cast("HTTPException", error)
    response = json_response({"error": refusal.detail}, refusal.status_code)
    response.headers.update(refusal.headers or {})
    return response


async def _failed(_: Request, __: Exception) -> Response:
    return json_response({"error": "internal error, see the log"}, HTTPStatus.INTERNAL_SERVER_ERROR)
