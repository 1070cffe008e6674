"""Whose turn it is to be tried alone: the sessions of a shard of which something was not taken."""

from __future__ import annotations

from math import inf

from bridge.clock import monotonic
from bridge.delivery.transactional_sender import TransactionalSender

_SHARE = 5
"""A trial that fails may take one part in so many of the time, one that helps half of it: the other sessions wait
meanwhile."""
_LONGEST = 20.0
"""Seconds; what a trial took beyond that is not its own doing."""


class IsolationQueue:
    """Trials and the others' transactions take turns: neither holds the other up for ever.

    Thread rule: the shard's thread.
    """

    def __init__(self) -> None:
        self._waiting: dict[TransactionalSender, None] = {}
        self._not_before = 0.0
        self._has_just_tried = False

    def add(self, sender: TransactionalSender) -> None:
        """One more, or one again."""
        self._waiting[sender] = None

    def next(self) -> TransactionalSender | None:
        """Who is to be tried now, between two transactions."""
        now = monotonic()
        self._has_just_tried = not self._has_just_tried and now >= self._not_before
        due = (
            (sender for sender in self._waiting if sender.isolation.retry_at <= now)
            if self._has_just_tried
            else iter(())
        )
        one = next(due, None)
        self._has_just_tried = one is not None
        if one is not None:
            del self._waiting[one]
        return one

    def note(self, began: float, *, has_helped: bool) -> None:
        """There was a trial from ``began`` until now; it ``has_helped`` when it brought its session further."""
        now = monotonic()
        # A new producer may have been waited for as well, for as long as Kafka was away.
        took = min(now - began, _LONGEST)
        self._not_before = now + took * (1 if has_helped else _SHARE - 1)

    @property
    def rest(self) -> float:
        """Seconds until the next may be due."""
        now = monotonic()
        return min((max(sender.isolation.retry_at, self._not_before) - now for sender in self._waiting), default=inf)
