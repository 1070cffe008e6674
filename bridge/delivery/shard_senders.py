"""The senders of one shard's sessions: those that asked for a turn, the isolated ones, and those in the transaction."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from math import inf

from bridge.clock import monotonic
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.delivery.transactional_sender import TransactionalSender
from bridge.kafka.transactional import TransactionalProducer, TransactionTimeouts


class ShardSenders:
    """The sessions of one shard's thread.

    Thread rule: the supervisor calls ``add`` and ``remove``; any thread calls ``request_turn``; everything else runs in
    the shard's thread.
    """

    def __init__(self, checkpoint_interval: float) -> None:
        """``checkpoint_interval``: seconds between two searches for positions that only skipped events moved."""
        self.wake = threading.Event()
        """Set when the thread must not wait any longer."""
        self._senders: dict[SessionKey, TransactionalSender] = {}
        self._turn_requests: deque[TransactionalSender] = deque()
        self._checkpoint_interval = checkpoint_interval
        self._next_unwritten_check = 0.0

    def add(self, key: SessionKey, sender: TransactionalSender) -> None:
        self._senders[key] = sender
        self.request_turn(sender)

    def remove(self, key: SessionKey) -> None:
        self.request_turn(self._senders.pop(key))  # its memory is freed

    def request_turn(self, sender: TransactionalSender) -> None:
        self._turn_requests.append(sender)
        self.wake.set()

    def request_turns(self, senders: Iterable[TransactionalSender]) -> None:
        """Request turns without waking the thread, which makes the request."""
        self._turn_requests.extend(senders)

    def take_requests(self) -> list[TransactionalSender]:
        """Return the senders that asked so far: a later request waits for the poll that reports why."""
        return [self._turn_requests.popleft() for _ in range(len(self._turn_requests))]

    def all(self) -> tuple[TransactionalSender, ...]:
        return tuple(self._senders.values())

    @property
    def is_settled(self) -> bool:
        return not any(
            sender.session.in_flight.entries or sender.is_unwritten
            for sender in self.all()
            if not sender.session.is_revoked
        )

    def find_unwritten(self, present: Mapping[TransactionalSender, None], *, is_flush: bool) -> None:
        """Request turns for sessions outside of the ``present`` transaction whose checkpoint is not written."""
        now = monotonic()
        if now >= self._next_unwritten_check or is_flush:
            self._next_unwritten_check = now + self._checkpoint_interval
            self.request_turns(each for each in self.all() if each not in present and each.is_unwritten)

    def close_fast_paths(self) -> None:
        for sender in self.all():
            sender.handover.close_fast_path_and_wait()

    def resolve(self, found: Mapping[SessionKey, Checkpoint]) -> None:
        """Learn from the stored checkpoints whether a transaction was committed."""
        for key, sender in tuple(self._senders.items()):
            if not sender.resolve(found.get(key)):
                sender.restart(found.get(key))
            self.request_turn(sender)

    def free_memory(self) -> None:
        """Free what revoked sessions held (any thread, after the end of the shard's thread)."""
        while self._turn_requests:
            self._turn_requests.popleft().discard_if_revoked()


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
        self._waiting[sender] = None

    def next(self) -> TransactionalSender | None:
        """The session whose transaction is next; None: it is the turn of the others."""
        now = monotonic()
        one = None
        if not self._has_just_tried and now >= self._not_before:
            one = next((sender for sender in self._waiting if sender.handover.retry_at <= now), None)
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
            if left != before or now < throttle.until:
                before, moved_at = left, now
            if producer.fatal is not None or is_over() or any(sender.handover.has_failed for sender in senders):
                return Flushed.FAILED
            if max(now, throttle.until) - began > self.timeout:
                self._shrink()
                return Flushed.SLOW
            if now - moved_at > stuck:
                self._shrink()  # the first request may be too large for the connection, and nothing else in the way
                return Flushed.STUCK
        if not (self._is_isolated or (now := monotonic()) < producer.throttle.until) and now - began < _QUICK:
            self.budget, self.timeout = min(2 * self.budget, _MOST), self._least_time
        return Flushed.ALL

    def _shrink(self) -> None:
        if not self._is_isolated:
            self.budget = max(self.budget // 2, _LEAST)
            self.timeout = min(2 * self.timeout, self._most_time)
