"""Limits how fast this process connects to a server, and how many lifecycle records of a session it publishes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import floor
from typing import Final, Self

from bridge.clock import monotonic
from bridge.core.records.lifecycle import LifecycleEvent

RATE: Final = 200.0
"""Connections per second. 5,000 sessions connect within 25 s; a server spends about 1 ms on each: 20 % of one core."""
BURST: Final = 50
"""Connections at once after a quiet time. With it the 400 sessions of a dead replica are read within 2 s."""
RESUMED_BURST = 10
RESUMED_RATE = 1 / 60
"""``resumed`` records per second after a burst: a server that cuts each connection after one event would cause two a
second and session, for ever. All of them are counted in the metrics."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A token bucket as a value: it returns when a connection may be made, so that nobody has to ask again.

    Times are seconds of :func:`bridge.clock.monotonic`.
    """

    rate: float = RATE
    burst: int = BURST
    next_at: float = float("-inf")
    """When the next connection may be made if no burst is saved up."""

    def reserve(self, now: float) -> tuple[float, Self]:
        """Reserve the next connection; returns the seconds until it, and the limit after it."""
        at = self._earliest(now)
        return max(0.0, at - now), replace(self, next_at=at + 1 / self.rate)

    def available(self, now: float, within: float) -> int:
        return max(0, floor((now + within - self._earliest(now)) * self.rate) + 1)

    def refund(self) -> Self:
        """Return a reservation that is not used: later callers wait less, earlier reservations stay as they are."""
        return replace(self, next_at=self.next_at - 1 / self.rate)

    def _earliest(self, now: float) -> float:
        return max(self.next_at, now - (self.burst - 1) / self.rate)


class ConnectionRate:
    """The rate limit of all sessions of one server. It counts first connections, moved shards and reconnects alike.

    Thread rule: any thread.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._limit = RateLimit()
        self._lock = threading.Lock()

    def available(self, within: float) -> int:
        """How many sessions may connect within so many seconds."""
        with self._lock:
            return self._limit.available(self._now(), within)

    def wait(self, stopped: threading.Event) -> bool:
        """Wait until a connection may be made; False once ``stopped``."""
        with self._lock:
            seconds, self._limit = self._limit.reserve(self._now())
        if not stopped.wait(seconds):
            return True
        with self._lock:
            self._limit = self._limit.refund()
        return False


class LifecycleLimit:
    """Which announcements of one session are published. Those that may stand for a loss always are.

    Thread rule: the session's worker.
    """

    def __init__(self) -> None:
        self._limit = RateLimit(RESUMED_RATE, RESUMED_BURST)

    def admits(self, event: LifecycleEvent, now: float) -> bool:
        """Whether to publish it; ``now``: of ``clock.monotonic``."""
        if event.kind != "resumed":
            return True
        if not self._limit.available(now, 0.0):
            return False
        _, self._limit = self._limit.reserve(now)
        return True
