"""Whether Kafka accepts what waits in memory."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from bridge.clock import monotonic
from bridge.kafka.client import Throttle

_AFTER_THROTTLE = 30.0
"""Seconds for which a quota is still named as the reason: the next delay follows when more is sent."""


class Waiting(NamedTuple):
    """What waits at one moment."""

    seconds: float
    """For so long something waited, and nothing was acknowledged; 0 if nothing waits."""
    is_throttled: bool
    """A client quota of Kafka delays delivery, or did a moment ago."""


class Progress:
    """Thread rule: one thread notes; any thread reads."""

    def __init__(self) -> None:
        self._at = monotonic()
        self._is_idle = True
        self._throttled_until = -inf

    def begin(self) -> None:
        """Something waits from now on, if nothing did before."""
        if self._is_idle:
            self.note()

    def note(self, *, is_idle: bool = False) -> None:
        """Kafka acknowledged something; ``is_idle``: or nothing waits."""
        self._at, self._is_idle = monotonic(), is_idle

    def note_throttle(self, throttle: Throttle) -> None:
        """Keep what a producer knows about quotas, also when it is replaced."""
        self._throttled_until = max(self._throttled_until, throttle.until)

    @property
    def delay(self) -> float:
        """Seconds for which the brokers delay everything because of a quota."""
        return max(0.0, self._throttled_until - monotonic())

    @property
    def waiting(self) -> Waiting:
        now = monotonic()
        return Waiting(0.0 if self._is_idle else now - self._at, now < self._throttled_until + _AFTER_THROTTLE)
