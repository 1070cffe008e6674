"""Streams in a row that ended before a known event: when that is a replay that failed, and not a few cuts."""

from __future__ import annotations

from typing import Final

EMPTY_REPLAYS: Final = 3
"""Fewer streams without a known event may be cuts."""


class EmptyReplays:
    """The streams of one session. For its thread alone.

    A network that cuts each connection within milliseconds ends many streams in a second. So their number alone proves
    nothing: only ends with some time between them count.
    """

    def __init__(self, seconds: float) -> None:
        """``seconds``: the least time from the first end that counts to the last one."""
        self._interval = seconds / (EMPTY_REPLAYS - 1)
        self._count = 0
        self._counted_at = 0.0

    def forget(self) -> None:
        """The next stream is the first one again."""
        self._count = 0

    def ended(self, now: float, *, is_empty: bool) -> bool:
        """Whether one more end proves that the server does not replay. ``is_empty``: no known event came."""
        if not is_empty:
            self.forget()
        elif not self._count or now - self._counted_at >= self._interval:
            self._count, self._counted_at = self._count + 1, now
        return self._count >= EMPTY_REPLAYS
