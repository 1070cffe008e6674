"""The sessions of a shard that are isolated, and whose transaction is next."""

from __future__ import annotations

from math import inf

from bridge.clock import monotonic
from bridge.delivery.transactional_sender import TransactionalSender

_SHARE = 5
"""An isolated transaction that fails may take a fifth of the time, one that succeeds half of it: the
others wait meanwhile."""
_LONGEST = 20.0
"""Seconds: a longer one waited for something else, for example a new producer."""


class IsolationQueue:
    """Isolated transactions and those of the other sessions alternate: neither starves the other.

    Thread rule: the shard's thread.
    """

    def __init__(self) -> None:
        self._waiting: dict[TransactionalSender, None] = {}
        self._not_before = 0.0
        self._has_just_tried = False

    def add(self, sender: TransactionalSender) -> None:
        """Add a session, or add it again."""
        self._waiting[sender] = None

    def next(self) -> TransactionalSender | None:
        """The session whose transaction is next; None: it is the turn of the others."""
        now = monotonic()
        self._has_just_tried = not self._has_just_tried and now >= self._not_before
        due = (
            (sender for sender in self._waiting if sender.handover.retry_at <= now)
            if self._has_just_tried
            else iter(())
        )
        one = next(due, None)
        self._has_just_tried = one is not None
        if one is not None:
            del self._waiting[one]
        return one

    def note(self, began: float, *, has_helped: bool, has_others: bool) -> None:
        """An isolated transaction took from ``began`` until now.

        ``has_helped``: it moved its session's position, or it narrowed the search; ``has_others``: other sessions of
        the shard wait.
        """
        now = monotonic()
        if has_helped and not has_others:
            self._not_before = now
            return
        # It may have waited for a new producer as well, for as long as Kafka was away.
        took = min(now - began, _LONGEST)
        self._not_before = now + took * (1 if has_helped else _SHARE - 1)

    @property
    def rest(self) -> float:
        """Seconds until the next one may be due."""
        now = monotonic()
        return min((max(sender.handover.retry_at, self._not_before) - now for sender in self._waiting), default=inf)
