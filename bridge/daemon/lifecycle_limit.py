"""Limits the lifecycle records of one session, so that a server that ends connections all the time fills no topic."""

from __future__ import annotations

from bridge.core.records.lifecycle import LifecycleEvent
from bridge.daemon.rate_limit import RateLimit

BURST = 10
RATE = 1 / 60
"""``resumed`` records per second after a burst: a server that cuts each connection after one event would cause two a
second and session, for ever. All of them are counted in the metrics."""


class LifecycleLimit:
    """Which announcements of one session are published. Those that may stand for a loss always are.

    Thread rule: the session's worker.
    """

    def __init__(self) -> None:
        self._limit = RateLimit(RATE, BURST)

    def admits(self, event: LifecycleEvent, now: float) -> bool:
        """Whether to publish it; ``now``: of ``clock.monotonic``."""
        if event.kind != "resumed":
            return True
        if not self._limit.available(now, 0.0):
            return False
        _, self._limit = self._limit.reserve(now)
        return True
