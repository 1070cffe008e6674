"""Clocks that tests move."""

from __future__ import annotations

from collections.abc import Callable

from bridge.clock import monotonic


class ManualClock:
    """A clock that moves only when a test moves it."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now

    def __call__(self) -> float:
        """The time in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move it forward."""
        self._now += seconds


def fast_clock(factor: float) -> Callable[[], float]:
    """The real clock, so many times as fast."""
    return lambda: factor * monotonic()
