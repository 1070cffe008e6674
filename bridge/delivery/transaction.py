"""A shard's present transaction: who is in it, how much it may hold, and when it is to end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, auto

from bridge.clock import monotonic
from bridge.delivery.transactional_sender import TransactionalSender
from bridge.kafka.transactional import TransactionalProducer

_LOOK = 0.025
"""Seconds between two looks while a transaction is open: failures are told then, and its size is watched."""
_SLICE = 0.1
"""Seconds of one wait for records to be taken: a stop is heard after it."""
_MOST, _LEAST = 8 * 1024 * 1024, 64 * 1024
"""Bytes of one transaction: as much as a slow Kafka takes within its time. Halved each time that it does not."""


class Transaction:
    """Sessions join it when they have something, and leave it all at once at its end.

    Those that had nothing in it are asleep then: they cost nothing until they call. Thread rule: the shard's thread.
    """

    def __init__(self, interval: float) -> None:
        """``interval``: seconds that it is open."""
        self.budget = _MOST
        """Bytes of a whole one."""
        self.senders: dict[TransactionalSender, None] = {}
        self._interval = interval
        self._due = 0.0
        self._left_of_budget = _MOST

    def join(self, producer: TransactionalProducer, sender: TransactionalSender) -> None:
        """Open a session's way, and send what waits, as far as there is room."""
        self.join_alone(producer, sender)
        if self._left_of_budget > 0:
            self._left_of_budget -= sender.open(self._left_of_budget)

    def join_alone(self, producer: TransactionalProducer, sender: TransactionalSender) -> None:
        """Take a session in that sends for itself."""
        if not self.senders:
            producer.begin()
            self._due = monotonic() + self._interval
            self._left_of_budget = self.budget
        self.senders[sender] = None

    @property
    def is_due(self) -> bool:
        """It has been open for long enough, holds enough, or something of it failed."""
        if monotonic() >= self._due or any(sender.isolation.has_failed for sender in self.senders):
            return True
        return sum(sender.bytes_given for sender in self.senders) >= self._left_of_budget

    @property
    def rest(self) -> float:
        """Seconds until it is worth a look."""
        return min(_LOOK, max(0.0, self._due - monotonic()))

    def shut(self) -> list[TransactionalSender]:
        """Close all ways; returns those of whom something is in it."""
        return [sender for sender in self.senders if sender.shut()]

    def leave(self, moved: Iterable[TransactionalSender] = ()) -> list[TransactionalSender]:
        """All leave it; returns those who want to be in the next: who ``moved``, and who still has something."""
        moved = set(moved)
        again = [sender for sender in self.senders if sender in moved or sender.window.entries]
        self.senders.clear()
        return again

    def note_end(self, *, was_slow: bool) -> None:
        """The next may be larger, or must be smaller: this one did not get through in time."""
        self.budget = max(self.budget // 2, _LEAST) if was_slow else min(2 * self.budget, _MOST)


class Flushed(Enum):
    """How far Kafka has what was sent."""

    ALL = auto()
    SLOW = auto()
    """It takes some, but not all within the time of a transaction."""
    NOT = auto()
    """Something failed, or nothing moves any more, or nobody wants it any more."""


def flush(
    producer: TransactionalProducer,
    senders: Iterable[TransactionalSender],
    stuck: float,
    longest: float,
    is_over: Callable[[], bool],
) -> Flushed:
    """Wait until Kafka has all; not beside a failure, nor while nothing moves for ``stuck`` seconds."""
    began = moved_at = monotonic()
    before = None
    while left := producer.flush(_SLICE):
        now = monotonic()
        if left != before:
            before, moved_at = left, now
        has_failed = producer.fatal is not None or is_over() or any(sender.isolation.has_failed for sender in senders)
        if has_failed or now - moved_at > stuck:
            return Flushed.NOT
        if now - began > longest:
            return Flushed.SLOW
    return Flushed.ALL
