"""Streams in a row that ended before a known event: when that is a replay that failed, and not a few cuts."""

from __future__ import annotations

from typing import Final

EMPTY_REPLAYS: Final = 3
"""Fewer streams without a known event may be cuts."""


class EmptyReplays:
    """The streams of one session. For its thread alone.

    A network that cuts each connection within milliseconds ends many streams in a second. So their number alone proves
    nothing: they must have come for some time, too.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._count = 0
        self._since = 0.0

    def forget(self) -> None:
        """The next stream is the first one again."""
        self._count = 0

    def ended(self, now: float, *, is_empty: bool) -> bool:
        """Whether one more end proves that the server does not replay. ``is_empty``: no known event came."""
        if not is_empty:
            self.forget()
            return False
        self._since = self._since if self._count else now
        self._count += 1
        return self._count >= EMPTY_REPLAYS and now - self._since >= self._seconds
