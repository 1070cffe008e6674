"""Whether the whole process stood still: stopped, suspended with its machine, or without a processor."""

from __future__ import annotations

from bridge.clock import monotonic

LONGEST_STAND = 5.0
"""Seconds a reader may stand still: a server that drops events for slow readers has by then dropped some."""


class StallDetector:
    """Beats many times a second while the process runs; a beat that comes late tells of a stand.

    Thread rule: any thread beats and asks; each field is written as a whole, and two that notice one stand write the
    same.
    """

    def __init__(self) -> None:
        self._beat_at = monotonic()
        self._stand = (0.0, 0.0)

    def beat(self) -> None:
        """The process runs."""
        now = monotonic()
        late = now - self._beat_at
        if late > LONGEST_STAND:
            self._stand = (now, late)
        self._beat_at = now

    def stood_since(self, moment: float) -> float:
        """Seconds of the last stand that ended after ``moment`` (``clock.monotonic``); 0 when there was none."""
        ended_at, seconds = self._stand
        return seconds if ended_at > moment else 0.0
