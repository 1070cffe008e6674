"""The HTTP endpoint: health, metrics and status, on one thread of its own.

Every request is answered from a snapshot, on the event loop's thread, without waiting for anything. What a client may
cost is bounded: one request per connection, a short life, few connections, and snapshots only so often.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import logging
import socket
import threading
from asyncio import TimerHandle, Transport
from collections.abc import Callable
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
from uvicorn.protocols.http.h11_impl import H11Protocol

from bridge import clock
from bridge.core.snapshot import BridgeSnapshot, status
from bridge.errors import SettingsError
from bridge.http.listening import listen
from bridge.observe.health import Verdict, liveness, readiness
from bridge.observe.metrics import CONTENT_TYPE, Metrics

Snapshot = Callable[[], BridgeSnapshot]

# A probe may not know the token, and neither answer tells anything about a session.
OPEN_PATHS = frozenset({"/livez", "/readyz"})

# Enough for every scraper, probe and person at once. One more closes the oldest, not the newest: whoever only holds
# connections open cannot keep a probe out, and so cannot get the daemon restarted.
MAX_CONNECTIONS = 64

# Seconds from accept to the last byte of the answer: the largest (the status of 5000 sessions, 1.3 MB) gets through at
# 50 kB/s. Whoever sends or reads slower than that holds a descriptor and memory, not a conversation.
CONNECTION_LIFETIME = 30.0

# Seconds that a snapshot is used again: a flood of requests costs four snapshots a second; no probe sees a difference.
SNAPSHOT_LIFETIME = 0.25

# A request head beyond this is no probe and no browser of ours.
MAX_HEAD_BYTES = 16 * 1024

_log = get_logger("bridge.http")


class HttpEndpoint:
    """The daemon's HTTP endpoint.

    Thread rule: ``start`` once, by the thread that owns it; ``stop`` and ``join`` by any thread, before ``start`` too.
    ``snapshot`` is called on the endpoint's own thread and must not wait. No signal handler is installed.
    """

    def __init__(self, host: str, port: int, token: str | None, snapshot: Snapshot) -> None:
        self._host = host
        self._port = port
        self._token = token
        self._snapshot = snapshot
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> int:
        """Listen, and return the port; from here on connections are taken.

        Raises SettingsError when host, port or token cannot be used.
        """
        if self._token == "":  # an empty token file would let everybody in who sends an empty password
            raise SettingsError.of("http.token", "is empty; give a token, or leave the key out to need none")
        listener = listen(self._host, self._port)
        port = int(listener.getsockname()[1])
        self._server = Server(_config(application(self._snapshot, self._token)))
        # A daemon thread: an interpreter that exits after a fault must not wait for an HTTP client.
        run = partial(asyncio.run, _serve(self._server, listener))
        self._thread = threading.Thread(target=run, name="http", daemon=True)
        self._thread.start()
        # A port that was picked is known from this line alone: it is said at every level but error
        unsaid = self._port == 0 and not logging.getLogger("bridge.http").isEnabledFor(logging.INFO)
        say = _log.warning if unsaid else _log.info
        say("http endpoint listens", host=self._host, port=port, token_needed=self._token is not None)
        return port

    def stop(self) -> None:
        """Ask it to end: no new connections, answers under way are finished. Can be called twice."""
        if self._server is not None:
            self._server.should_exit = True

    def join(self, deadline: float) -> bool:
        """Wait for the end until ``deadline`` (a moment of ``clock.monotonic``); whether it has come."""
        if self._thread is None:
            return True
        self._thread.join(max(0.0, deadline - clock.monotonic()))
        return not self._thread.is_alive()


def application(snapshot: Snapshot, token: str | None) -> Starlette:
    """The routes over a snapshot, behind the token when there is one."""
    overlap_window = _Recent(snapshot)
    metrics = Metrics(overlap_window)

    async def livez(_: Request) -> Response:
        return _health(liveness(overlap_window()))

    async def readyz(_: Request) -> Response:
        return _health(readiness(overlap_window()))

    async def api_status(_: Request) -> Response:
        return _json(status(overlap_window()))

    async def metrics_text(_: Request) -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    routes = [
        Route("/livez", livez),
        Route("/readyz", readyz),
        Route("/api/status", api_status),
        Route("/metrics", metrics_text),
    ]
    app = Starlette(
        routes=routes,
        middleware=[] if token is None else [Middleware(_Gate, token=token)],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    app.router.redirect_slashes = False  # a path that is not ours is 404, nothing to guess
    return app


def authorized(header: bytes, token: bytes) -> bool:
    """Whether an ``Authorization`` header has the token: as Bearer (RFC 6750) or the password of Basic (RFC 7617)."""
    scheme, _, credentials = header.partition(b" ")
    match scheme.lower():
        case b"bearer":
            given = credentials.strip()
        case b"basic":
            given = _password(credentials)
        case _:
            given = b""
    return hmac.compare_digest(given, token)  # takes the same time wherever the first difference is


def _password(credentials: bytes) -> bytes:
    try:
        return base64.b64decode(credentials.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


class _Gate:
    """ASGI middleware: everything but the open paths wants the token, paths that do not exist included."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        header = dict(scope["headers"]).get(b"authorization", b"")
        passed = scope["path"] in OPEN_PATHS or authorized(header, self._token)
        await (self._app if passed else _unauthorized())(scope, receive, send)


class _Recent:
    """The snapshot, taken anew when the last one is too old. Thread rule: the HTTP thread only."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._last: BridgeSnapshot | None = None
        self._taken = 0.0

    def __call__(self) -> BridgeSnapshot:
        now = clock.monotonic()
        if self._last is None or now - self._taken > SNAPSHOT_LIFETIME:
            self._last, self._taken = self._snapshot(), now
        return self._last


class _ShortConnection(H11Protocol):
    """uvicorn's HTTP/1.1, which by itself waits for a request, and for a reader of the answer, for ever."""

    _opened: float
    _end: TimerHandle

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as in H11Protocol
        super().connection_made(transport)
        self._opened = self.loop.time()
        self._end = self.loop.call_later(CONNECTION_LIFETIME, transport.abort)
        if len(self.connections) > MAX_CONNECTIONS:
            others = cast("set[_ShortConnection]", self.connections)
            oldest = min(others, key=lambda connection: connection._opened)  # noqa: SLF001 - of the same class
            self.connections.discard(oldest)  # now, since several can come before the abort has been carried out
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end.cancel()
        super().connection_lost(exc)


async def _serve(server: Server, listener: socket.socket) -> None:
    await server.serve(sockets=[listener])
    for connection in list(server.server_state.connections):  # uvicorn leaves those open that did not read their answer
        connection.transport.abort()


def _config(app: Starlette) -> Config:
    return Config(
        app,
        http=_ShortConnection,
        headers=[("Connection", "close")],  # one request per connection: no idle connections to keep books about
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_graceful_shutdown=1,  # answers take milliseconds; a slow reader must not hold up the stop
        ws="none",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,  # logging belongs to cli
    )


def _health(verdict: Verdict) -> Response:
    return _json(verdict.to_json(), HTTPStatus.OK if verdict.ok else HTTPStatus.SERVICE_UNAVAILABLE)


def _json(body: object, code: int = HTTPStatus.OK) -> Response:
    # ASCII: a session id is a stranger's text, and one with a lone surrogate has no UTF-8.
    text = json.dumps(body) + "\n"
    return Response(text, code, media_type="application/json", headers={"Cache-Control": "no-store"})


def _unauthorized() -> Response:
    response = _json({"error": "this path wants the token of http.token"}, HTTPStatus.UNAUTHORIZED)
    response.headers.append("WWW-Authenticate", 'Basic realm="mix-bridge", charset="UTF-8"')
    response.headers.append("WWW-Authenticate", 'Bearer realm="mix-bridge"')
    return response


async def _refused(_: Request, error: Exception) -> Response:
    refusal = cast("HTTPException", error)
    response = _json({"error": refusal.detail}, refusal.status_code)
    response.headers.update(refusal.headers or {})
    return response


async def _failed(_: Request, __: Exception) -> Response:
    return _json({"error": "internal error, see the log"}, HTTPStatus.INTERNAL_SERVER_ERROR)
