"""Which streams were open on the simulated server, from when to when: who reads a session, and since when again.

Event loop thread only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bridge.simulator.server.http_edge import Request

_KEPT = 20_000


class StreamLog:
    """The newest 20,000 streams; times by :func:`bridge.clock.monotonic`, which all processes of a machine share."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._count = 0

    @contextmanager
    def open(self, request: Request) -> Iterator[None]:
        """Write a stream down; it is open as long as the context."""
        self._count += 1
        entry: dict[str, Any] = {
            "number": self._count,
            "session": request.query.get("sessionId"),
            "headers": dict(request.headers),
            "opened": self._clock(),
            "closed": None,
        }
        self._kept.append(entry)
        try:
            yield
        finally:
            entry["closed"] = self._clock()

    def after(self, number: int) -> list[dict[str, Any]]:
        """What is kept above a number, as JSON, oldest first; an open stream has no ``closed``."""
        return [each for each in self._kept if each["number"] > number]
