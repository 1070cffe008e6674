"""Proofs of membership, and what follows when the group answers no commit or fences this process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from math import inf

from bridge.clock import monotonic

_INTERVAL = 0.1
"""Seconds between two checks whether a waiting caller was stopped."""
FRESH = 2.0
"""Seconds for which an accepted commit proves that no other process has these shards: less than any session time-out,
and less than a restart under the same name waits for a heartbeat (``join_check.SILENCE``)."""
_ANSWER_TIMEOUT = 10
"""Intervals after which a commit without an answer no longer delays the next."""
_MAX_UNANSWERED = 10
INTERVAL = 30.0
"""Seconds without an answer until a new client asks, and between two questions. A member is answered every second."""
_FENCES, _WITHIN = 3, 600.0
"""So many times fenced within so many seconds: joining again does not help."""


class Proofs:
    """Requests by workers, answered by the member's commits.

    Thread rule: ``proven_at``, ``ask`` and ``prove`` are for any thread; the rest is for the membership thread.
    """

    def __init__(self, interval: float, pause: float = 0.1) -> None:
        """A commit every ``interval`` seconds, and ``pause`` seconds after one that was refused."""
        self._interval, self._pause = interval, pause
        self._changed = threading.Condition()
        self._proven_at = -inf
        self._wanted_since = -inf
        self._sent: dict[int, float] = {}
        self._sent_at = -inf
        self._is_closed = False

    @property
    def proven_at(self) -> float:
        """When the newest accepted commit was sent, by ``clock.monotonic``."""
        return self._proven_at

    def ask(self) -> None:
        with self._changed:
            self._wanted_since = max(self._wanted_since, monotonic())

    def prove(self, since: float, is_over: Callable[[], bool]) -> bool:
        """Wait for an accepted commit that was sent after ``since``; False when ``is_over()``, or at the end.

        While other members join, a commit waits behind this member's own request to the coordinator, until the slowest
        member has released its shards.
        """
        with self._changed:
            self._wanted_since = max(self._wanted_since, since)
            while not self._is_proven(since):
                if self._is_closed or is_over():
                    return False
                self._changed.wait(_INTERVAL)
        return True

    def _is_proven(self, since: float) -> bool:
        if self._proven_at < since:
            return False
        # The process may have been paused after it sent the commit, and replaced since.
        now = monotonic()
        is_fresh = now - self._proven_at <= FRESH
        if not is_fresh:
            self._wanted_since = now
        return is_fresh

    def is_due(self, now: float) -> bool:
        """Whether to commit now: the interval is over, or somebody waits; one commit at a time while answers come."""
        elapsed = now - self._sent_at
        if self._sent:
            return elapsed >= _ANSWER_TIMEOUT * self._interval
        if self._wanted_since <= self._proven_at:
            return elapsed >= self._interval
        return self._proven_at == self._sent_at or elapsed >= self._pause

    def sent(self, heartbeat: int, now: float) -> None:
        self._sent[heartbeat] = self._sent_at = now
        for late in list(self._sent)[:-_MAX_UNANSWERED]:
            del self._sent[late]

    def answered(self, heartbeat: int, *, is_member: bool) -> None:
        sent_at = self._sent.pop(heartbeat, None)
        if sent_at is None or not is_member:  # None: sent before the shards were lost
            return
        with self._changed:
            self._proven_at = max(self._proven_at, sent_at)
            self._changed.notify_all()

    @property
    def is_settled(self) -> bool:
        return not self._sent

    def forget(self) -> None:
        """Membership was lost: the answers to earlier commits prove nothing."""
        self._sent.clear()
        self._wake()

    def close(self) -> None:
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class Reaction(Enum):
    """What to do about the consumer."""

    NONE = auto()
    RENEW = auto()
    """Use a new client: the present one is stuck."""
    END = auto()
    """The new one gets no answer either: only a new process can help."""


class GroupWatch:
    """Decides when the Kafka client of a member is replaced, and when only a new process can help.

    Times are by :func:`bridge.clock.monotonic`. Thread rule: one thread.
    """

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
