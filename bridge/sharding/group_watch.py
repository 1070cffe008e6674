"""Finds a group consumer that gets no answer although Kafka answers other clients. Pure."""

from __future__ import annotations

from enum import Enum, auto

_INTERVAL = 30.0
"""Seconds without an answer until a new client asks, and between two questions. A member is answered every second."""


class Reaction(Enum):
    """What to do about the consumer."""

    NONE = auto()
    RENEW = auto()
    """Use a new client: the present one is stuck."""
    END = auto()
    """The new one gets no answer either: only a new process can help."""


class GroupWatch:
    """Times are by :func:`bridge.clock.monotonic`. Thread rule: one thread."""

    def __init__(self, now: float) -> None:
        self._quiet_since = self._asked_at = now
        self._alive_since: float | None = None
        self._was_renewed = False

    def answered(self) -> None:
        """The group answered the consumer."""
        self._alive_since, self._was_renewed = None, False

    def is_due(self, answered_at: float, now: float) -> bool:
        """Whether to ask Kafka with a new client. ``answered_at``: the last answer to the consumer."""
        if answered_at > self._quiet_since:
            self._quiet_since = answered_at
            self.answered()
        return now - max(self._quiet_since, self._asked_at) >= _INTERVAL

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
