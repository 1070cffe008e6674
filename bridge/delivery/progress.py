"""Whether Kafka accepts what waits in memory."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from bridge.clock import monotonic
from bridge.kafka.throttle import Throttle

_AFTER_THROTTLE = 30.0
"""Seconds for which a quota is still named as the reason: the next delay follows when more is sent."""


class Waiting(NamedTuple):
    """What waits at one moment."""

    seconds: float
    """For so long something waited, and nothing was acknowledged; about 0 if nothing waits."""
    is_throttled: bool
    """A client quota of Kafka delays delivery, or did a moment ago."""


class Progress:
    """Thread rule: one thread notes; any thread reads."""

    def __init__(self) -> None:
        self._at = monotonic()
        self._throttled_until = -inf

    def note(self) -> None:
        """Kafka acknowledged something, or nothing waits."""
        self._at = monotonic()

    def note_throttle(self, throttle: Throttle) -> None:
        """Keep what a producer knows about quotas, also when it is replaced."""
        self._throttled_until = max(self._throttled_until, throttle.until)

    @property
    def delay(self) -> float:
        """Seconds for which the brokers delay everything because of a quota."""
        return max(0.0, self._throttled_until - monotonic())

    @property
    def waiting(self) -> Waiting:
        """What waits now."""
        now = monotonic()
        return Waiting(now - self._at, now < self._throttled_until + _AFTER_THROTTLE)
