"""Logs the requests to the simulated server with their headers, and when each stream was open.

Thread rule: the server's event loop thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bridge.clock import monotonic, unix_ms
from bridge.simulator.server.http_server import Request

_REQUESTS_KEPT = 10_000
_STREAMS_KEPT = 20_000


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
