"""Who asked the simulated server for what, headers included: what a bridge really sends. Event loop thread only."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from bridge.simulator.server.http_edge import Request

_KEPT = 10_000


class RequestLog:
    """The newest 10,000 requests; those of the control interface are not among them."""

    def __init__(self, unix: Callable[[], float]) -> None:
        self._unix = unix
        self._kept: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._count = 0

    def note(self, request: Request, place: str = "server") -> None:
        """Write one down. ``place``: ``server``, or ``elsewhere`` for the host that redirects lead to."""
        self._count += 1
        self._kept.append(
            {
                "number": self._count,
                "at": self._unix(),
                "place": place,
                "method": request.method,
                "path": request.path,
                "query": dict(request.query),
                "headers": dict(request.headers),
            }
        )

    def after(self, number: int, path: str | None = None, session: str | None = None) -> list[dict[str, Any]]:
        """What is kept above a number, as JSON; only of one path, only of one session's streams."""
        return [
            each
            for each in self._kept
            if each["number"] > number
            and path in {None, each["path"]}
            and session in {None, each["query"].get("sessionId")}
        ]
