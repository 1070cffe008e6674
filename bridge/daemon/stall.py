"""Detects that the whole process stalled: stopped, suspended with its machine, or without a processor."""

from __future__ import annotations

from collections.abc import Callable

from bridge.clock import monotonic

STALL_LIMIT = 5.0
"""Seconds that a reader may stall: a server that drops events for slow readers has dropped some by then."""


class StallDetector:
    """Detects stalls by heartbeats, which come many times a second while the process runs: a late one ends a stall.

    Thread rule: any thread. Each field is replaced as a whole, and two threads that see the same stall store the same.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._heartbeat_at = now()
        self._stall = (0.0, 0.0)
        """When the last stall ended, and its seconds."""

    def heartbeat(self) -> None:
        now = self._now()
        late = now - self._heartbeat_at
        if late > STALL_LIMIT:
            self._stall = (now, late)
        self._heartbeat_at = now

    def stalled_since(self, moment: float) -> float:
        """Seconds of the last stall that ended after ``moment`` (``clock.monotonic``); 0 if there was none."""
        ended_at, seconds = self._stall
        return seconds if ended_at > moment else 0.0
