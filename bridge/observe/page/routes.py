"""The paths of the live page: ``/``, ``/api/stream``, ``/api/view`` and ``/api/sessions/<server>/<id>``.

The Content-Security-Policy allows the page's own script and styles, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from http import HTTPStatus
from importlib.resources import files
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from bridge.core.snapshot import BridgeSnapshot
from bridge.observe.json_response import NO_STORE, json_response
from bridge.observe.page.feed import Feed
from bridge.observe.page.view import detail

MAX_STREAMS = 32
"""Pages that are open at once. One more is refused, because closing an older one would only make that one come back."""
_RETRY = b"retry: 1000\n\n"
"""Milliseconds after which a browser connects again."""


class StreamConnection(Protocol):
    """A connection of the endpoint that may become a stream."""

    def streams(self) -> int:
        """How many connections of the endpoint are streams."""

    def extend(self) -> None:
        """Make it a stream, and allow it one more lifetime from now on."""


def page_routes(feed: Feed) -> list[Route]:
    """The routes of the feed; the request's state has its ``connection``, a `StreamConnection`, and ``is_allowed``."""
    text = html()
    headers = NO_STORE | {
        "Content-Security-Policy": content_security_policy(text),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }

    async def page(_: Request) -> Response:
        return Response(text, media_type="text/html", headers=headers)

    async def stream(request: Request) -> Response:
        connection: StreamConnection = request.state.connection
        if connection.streams() >= MAX_STREAMS:
            refusal = {"error": f"{MAX_STREAMS} pages are open, which is the limit: close one"}
            return json_response(refusal, HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "5"})
        if request.method == "HEAD":
            return Response(media_type="text/event-stream", headers=NO_STORE)
        connection.extend()
        return _Stream(feed, connection, request.state.is_allowed)

    async def present(_: Request) -> Response:
        return json_response(await feed.present())

    return [Route("/", page), Route("/api/stream", stream), Route("/api/view", present)]


def session_route(snapshot: Callable[[], BridgeSnapshot]) -> Route:
    """The detail of one session."""

    async def session(request: Request) -> Response:
        found = detail(snapshot(), request.path_params["server"], request.path_params["session"])
        if found is None:
            refusal = "no such session runs in this process: it ended, or another replica has its shard"
            return json_response({"error": refusal}, HTTPStatus.NOT_FOUND)
        return json_response(found)

    return Route("/api/sessions/{server}/{session:path}", session)  # an id may contain a slash


class _Stream(StreamingResponse):
    """The messages of the feed. It ends when its token is no longer valid.

    A page that reads nothing for a connection's lifetime is cut off.
    """

    def __init__(self, feed: Feed, connection: StreamConnection, is_allowed: Callable[[], bool]) -> None:
        # No proxy may collect the messages (nginx).
        super().__init__(
            self._messages(), media_type="text/event-stream", headers=NO_STORE | {"X-Accel-Buffering": "no"}
        )
        self._feed = feed
        self._connection = connection
        self._is_allowed = is_allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._feed.watched():
            await super().__call__(scope, receive, send)

    async def _messages(self) -> AsyncIterator[bytes]:
        yield _RETRY
        async for message in self._feed.messages():
            if not self._is_allowed():
                return
            self._connection.extend()
            yield message


_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def html() -> str:
    """The page: it loads nothing from anywhere but ``/api``."""
    return files(__package__).joinpath("page.html").read_text("utf-8")


def content_security_policy(text: str) -> str:
    """The policy (CSP level 3) for this text: the hash of each inline script and style.

    Text of a server that became markup by a bug in the page could neither run nor load nor send anything.
    """
    return "; ".join((
        "default-src 'none'",
        f"script-src {' '.join(_hashes(text, 'script'))}",
        f"style-src {' '.join(_hashes(text, 'style'))}",
        "img-src data:",  # its icon
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ))  # fmt: skip


def _hashes(text: str, element: str) -> Iterator[str]:
    for name, content in _INLINE.findall(text):
        if name == element:
            digest = hashlib.sha256(content.encode()).digest()
            yield f"'sha256-{base64.b64encode(digest).decode()}'"
