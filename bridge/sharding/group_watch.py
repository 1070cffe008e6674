"""Decides when the Kafka client of a member is replaced, and when only a new process can help. Pure."""

from __future__ import annotations

from collections import deque
from enum import Enum, auto

INTERVAL = 30.0
"""Seconds without an answer until a new client asks, and between two questions. A member is answered every second."""
_FENCES, _WITHIN = 3, 600.0
"""So many times fenced within so many seconds: joining again does not help."""


class Reaction(Enum):
    """What to do about the consumer."""

    NONE = auto()
    RENEW = auto()
    """Use a new client: the present one is stuck."""
    END = auto()
    """The new one gets no answer either: only a new process can help."""


class GroupWatch:
    """Times are by :func:`bridge.clock.monotonic`. Thread rule: one thread."""

    def __init__(self, now: float, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._quiet_since = self._asked_at = now
        self._fenced_at: deque[float] = deque(maxlen=_FENCES)
        self._alive_since: float | None = None
        self._was_renewed = False

    def answered(self, at: float) -> None:
        """The group answered the consumer, or lists it as a member."""
        self._quiet_since, self._alive_since, self._was_renewed = at, None, False

    def is_due(self, answered_at: float, now: float) -> bool:
        """Whether to ask Kafka with a new client. ``answered_at``: the last answer to the consumer."""
        if answered_at > self._quiet_since:
            self.answered(answered_at)
        return now - max(self._quiet_since, self._asked_at) >= self._interval

    def asked(self, *, answers: bool, now: float) -> Reaction:
        """Kafka answered a new client, or not. After an outage, the consumer has time to recover by itself."""
        self._asked_at = now
        if not answers:
            self._alive_since = None
        elif self._alive_since is None:
            self._alive_since = now
        elif self._was_renewed:
            return Reaction.END
        else:
            self._was_renewed, self._alive_since = True, None
            return Reaction.RENEW
        return Reaction.NONE

    def fenced(self, now: float) -> Reaction:
        """The group fenced this process's name, and no other process that has it was found so far."""
        self._fenced_at.append(now)
        is_often = len(self._fenced_at) == _FENCES and now - self._fenced_at[0] < _WITHIN
        return Reaction.END if is_often else Reaction.RENEW
