"""A shard's present transaction: its sessions, its size, and its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, auto

from bridge.clock import monotonic
from bridge.delivery.transactional_sender import TransactionalSender
from bridge.kafka.transactional import TransactionalProducer, TransactionTimeouts

_LOOK = 0.025
"""Seconds between two polls while a transaction is open: for failures, and for its size."""
_SLICE = 0.1
"""Seconds of one wait in a flush: a stop is noticed after it."""
_MOST, _LEAST = 8 * 1024 * 1024, 64 * 1024
"""Bytes of one transaction, halved each time that Kafka does not accept them in time."""
_QUICK = 1.0
"""Seconds in which Kafka accepts a transaction when it is not slow."""
_MARGIN = 2.0
"""Seconds of a transaction's time for everything else than the calls to Kafka."""


class Flushed(Enum):
    """The result of a flush."""

    ALL = auto()
    SLOW = auto()
    """Kafka accepts some, but not all within the time of a transaction; or a quota delays it for longer."""
    STUCK = auto()
    """Nothing moves, and no quota is the reason."""
    FAILED = auto()
    """Something failed, or the shard was released."""


class Transaction:
    """Sessions join it when they have something to send, and all leave it at its end.

    An idle session costs nothing until it calls. Thread rule: the shard's thread.
    """

    def __init__(self, interval: float, timeouts: TransactionTimeouts) -> None:
        """``interval``: seconds that it stays open."""
        self.budget = _MOST
        """Bytes of one transaction."""
        self.timeout = timeouts.flush
        """Seconds for all records of a transaction, while some are being acknowledged."""
        self._least_time = timeouts.flush
        # The brokers abort it at ``transaction``: the commit, or the abort and a new producer, must come before.
        self._most_time = max(timeouts.flush, timeouts.transaction - interval - 2 * timeouts.end - _MARGIN)
        self.senders: dict[TransactionalSender, None] = {}
        self._interval = interval
        self._due = 0.0
        self._left_of_budget = _MOST
        self._is_isolated = False

    def join(self, producer: TransactionalProducer, sender: TransactionalSender, *, is_isolated: bool = False) -> None:
        """Send what a session has in memory, as far as the budget allows, and open its fast path.

        Not while transactions are small: a worker adds more by the fast path than a slow Kafka accepts in time. An
        isolated session sends for itself: its transaction shows nothing about the size of others.
        """
        if not self.senders:
            producer.begin()
            self._is_isolated = is_isolated
            self._due = monotonic() + self._interval
            self._left_of_budget = self.budget
        self.senders[sender] = None
        if not is_isolated and self._left_of_budget > 0:
            self._left_of_budget -= sender.open(self._left_of_budget, opens_fast_path=self.budget == _MOST)

    @property
    def is_due(self) -> bool:
        """It was open for its interval, is large enough, or something in it failed."""
        if monotonic() >= self._due or any(sender.handover.has_failed for sender in self.senders):
            return True
        return sum(sender.session.taken - sender.taken_before for sender in self.senders) >= self._left_of_budget

    @property
    def rest(self) -> float:
        """Seconds until the next poll."""
        return min(_LOOK, max(0.0, self._due - monotonic()))

    def leave(self, moved: Iterable[TransactionalSender] = ()) -> list[TransactionalSender]:
        """All leave it; returns those for the next one: the ``moved`` ones, and those with something in memory."""
        moved = set(moved)
        again = [sender for sender in self.senders if sender in moved or sender.session.in_flight.entries]
        self.senders.clear()
        return again

    def flush(
        self,
        producer: TransactionalProducer,
        senders: Iterable[TransactionalSender],
        stuck: float,
        is_over: Callable[[], bool],
    ) -> Flushed:
        """Wait until Kafka has everything; ends at a failure, or when nothing moves for ``stuck`` seconds.

        A delay that the brokers announce because of a quota is a sign of life, unless it lasts too long. If Kafka does
        not accept it in time, the next one is smaller, and may take longer; if it does so quickly, it may be larger.
        """
        began = moved_at = monotonic()
        before = None
        while left := producer.flush(_SLICE):
            now, throttle = monotonic(), producer.throttle
            if left != before or throttle.is_active(now):
                before, moved_at = left, now
            if producer.fatal is not None or is_over() or any(sender.handover.has_failed for sender in senders):
                return Flushed.FAILED
            if max(now, throttle.until) - began > self.timeout:
                self._shrink()
                return Flushed.SLOW
            if now - moved_at > stuck:
                self._shrink()  # the first request may be too large for the connection, and nothing else in the way
                return Flushed.STUCK
        if not (self._is_isolated or producer.throttle.is_active(now := monotonic())) and now - began < _QUICK:
            self.budget, self.timeout = min(2 * self.budget, _MOST), self._least_time
        return Flushed.ALL

    def _shrink(self) -> None:
        if not self._is_isolated:
            self.budget = max(self.budget // 2, _LEAST)
            self.timeout = min(2 * self.timeout, self._most_time)
