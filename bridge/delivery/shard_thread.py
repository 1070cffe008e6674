"""One shard's transactions: one producer, and one thread that ends each transaction and tells the sessions."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.delivery.budget import MemoryBudget
from bridge.delivery.isolation_queue import IsolationQueue
from bridge.delivery.lease import Lease
from bridge.delivery.transaction import Flushed, Transaction, flush
from bridge.delivery.transactional_id import TransactionalId
from bridge.delivery.transactional_sender import TransactionalSender
from bridge.errors import Stopped
from bridge.kafka.transactional import TransactionalProducer, TransactionTimeouts, Verdict

log = get_logger("bridge.delivery")

Reclaim = Callable[[Lease], Mapping[SessionKey, Checkpoint]]
"""Claims the shard again (the lease gets a new fencing token) and reads what was written since the last claim.

Raises ``Stopped`` when the lease is over.
"""

_IDLE = 0.5
"""Seconds between two turns when nothing moves."""
_BUSY = 0.025
"""Seconds between two turns during a shutdown."""
_PROBE = 1.0
"""Seconds in which Kafka must accept an isolated piece: longer would delay the shard's other sessions."""
_PROVEN = 3.0
"""Seconds: a membership that was proved so recently can be proved again immediately."""
_BROKE = "a connection broke, and a request on it may still arrive"
_ABORTED = "the client changes its epoch in the middle of the transaction after an abort, which ends that one as well"
_LAST_ABORT = 3.0
"""Seconds for the abort when the shard is released, so that consumers need not wait for the brokers to do it."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """Seconds: how often transactions end, and how often positions that only skipped events moved are written."""

    transaction_interval: float
    checkpoint_interval: float
    timeouts: TransactionTimeouts = TransactionTimeouts()  # noqa: RUF009 - frozen


class ShardThread:
    """The transactions of one lease of one shard.

    Thread rule: the supervisor calls ``add``, ``remove``, ``start``, ``stop``, ``leave`` and ``join``; any thread calls
    ``request_turn``; everything else runs in its own thread. No lock is held while a call to Kafka waits.
    """

    def __init__(  # noqa: PLR0913 - its collaborators, given once
        self,
        lease: Lease,
        make: Callable[[], TransactionalProducer],
        intervals: Intervals,
        budget: MemoryBudget,
        *,
        reclaim: Reclaim,
        ready: Callable[[], None],
        answered: Callable[[], None],
    ) -> None:
        """``ready``: the transactional id is ours; ``answered``: Kafka has accepted something."""
        self.lease = lease
        self.bug: Exception | None = None
        self.turned_at = monotonic()
        """When the last turn began, by :func:`bridge.clock.monotonic`; infinity during waits without a limit."""
        self._intervals = intervals
        self._budget = budget
        self._reclaim = reclaim
        self._ready = ready
        self._answered = answered
        self._senders: dict[SessionKey, TransactionalSender] = {}
        self._producer: TransactionalProducer | None = None
        self._turn_requests: deque[TransactionalSender] = deque()
        self._wake = threading.Event()
        self._flush_requested = threading.Event()
        self._stopping = threading.Event()
        self._left = threading.Event()
        self._id = TransactionalId(lease, make, intervals.timeouts.end, self._left)
        self.renewal: str | None = None
        """Why the next transaction must have a new producer; set by any thread."""
        self._transaction = Transaction(intervals.transaction_interval)
        self._isolation_queue = IsolationQueue()
        self._next_unwritten_check = 0.0
        self._thread = threading.Thread(target=self._run, name=f"shard {lease.shard}", daemon=True)

    # Other threads

    def start(self) -> None:
        """Acquire the transactional id, call ``ready``, then deliver."""
        self._thread.start()

    def add(self, key: SessionKey, sender: TransactionalSender) -> None:
        """Add a session."""
        self._senders[key] = sender
        self.request_turn(sender)

    def remove(self, key: SessionKey) -> None:
        """Remove a session that is settled or revoked."""
        self.request_turn(self._senders.pop(key))  # its memory is freed

    def request_turn(self, sender: TransactionalSender) -> None:
        """Ask for a turn for this session."""
        self._turn_requests.append(sender)
        self._wake.set()

    def present(self) -> TransactionalProducer:
        """The present producer; its records are part of this shard's next commit."""
        if self._producer is None:
            raise AssertionError("a record before there is a producer")
        return self._producer

    def flush(self) -> None:
        """End transactions without waiting for the interval: the shard is about to be released."""
        self._flush_requested.set()
        self._wake.set()

    def stop(self) -> None:
        """Deliver what is in memory, then end the thread."""
        self._flush_requested.set()
        self._stopping.set()
        self._wake.set()

    def leave(self) -> None:
        """End immediately: what is not committed is aborted."""
        self._left.set()
        self._wake.set()

    def join(self, deadline: float) -> bool:
        """Wait for the end of the thread."""
        if self._thread.is_alive():
            self._thread.join(max(0.0, deadline - monotonic()))
        return not self._thread.is_alive()

    @property
    def is_over(self) -> bool:
        """Nothing more may be done for the shard."""
        return self._left.is_set() or self.lease.is_over

    # The thread

    def _run(self) -> None:
        try:
            self._producer = self._acquired()
            self._ready()
            while not self.is_over and not (self._stopping.is_set() and self._is_settled):
                self.turned_at = monotonic()
                self.turn()
        except Stopped:
            log.info("a shard's transactions end: its lease is over", shard=self.lease.shard)
        except Exception as bug:  # noqa: BLE001 - the main thread raises it: a thread's own death would go unnoticed
            self.bug = bug
        finally:
            self._end()

    @property
    def _is_settled(self) -> bool:
        senders = tuple(self._senders.values())
        return not any(
            sender.session.in_flight.entries or sender.is_unwritten
            for sender in senders
            if not sender.session.is_revoked
        )

    def turn(self) -> None:
        """Go round once: let sessions join the transaction, end it when it is due."""
        producer = self._producer
        if producer is None:
            raise AssertionError("a shard's thread turns before it has a producer")
        self._wake.clear()
        self._find_unwritten()
        if not self._transaction.senders:
            sender = self._isolation_queue.next()
            if sender is not None:
                self._isolate(producer, sender)
                return
        self._open_requested(producer)
        producer.poll()
        if producer.fatal is not None:
            self._recover(producer, producer.fatal)
        elif not self._transaction.senders:
            self._between(producer)
        elif self._flush_requested.is_set() or self._transaction.is_due:
            self._end_transaction(producer)
        else:
            self._wake.wait(self._transaction.rest)

    def _between(self, producer: TransactionalProducer) -> None:
        """The present transaction is empty, or there is none."""
        if self._is_renewal_due:
            self._renew(producer)
        else:
            self._wake.wait(max(0.0, min(_BUSY if self._stopping.is_set() else _IDLE, self._isolation_queue.rest)))

    # One transaction

    def _find_unwritten(self) -> None:
        now = monotonic()
        if now >= self._next_unwritten_check or self._flush_requested.is_set():
            self._next_unwritten_check = now + self._intervals.checkpoint_interval
            self._turn_requests.extend(
                sender
                for sender in tuple(self._senders.values())
                if sender not in self._transaction.senders and sender.is_unwritten
            )

    def _open_requested(self, producer: TransactionalProducer) -> None:
        if not self._turn_requests:
            return
        for _ in range(len(self._turn_requests)):  # a new request meanwhile waits for the poll that reports why
            sender = self._turn_requests.popleft()
            if sender not in self._transaction.senders:
                sender.discard_if_revoked()
            if sender.handover.isolation.is_active:
                self._isolation_queue.add(sender)
            elif not sender.handover.has_failed and not sender.session.is_revoked:
                self._transaction.join(producer, sender)
        self._budget.wake()

    def _end_transaction(self, producer: TransactionalProducer) -> None:
        moved = self._transaction.finish_parts()
        if moved:
            self._settle(producer, moved, self._intervals.timeouts.stuck)
        else:  # it stays open, which only this client knows
            self._turn_requests.extend(self._transaction.leave())

    def _isolate(self, producer: TransactionalProducer, sender: TransactionalSender) -> None:
        """A transaction of one isolated session: it must not delay the others for long."""
        began, stored = monotonic(), sender.checkpoints.stored
        self._transaction.join_alone(producer, sender)
        sender.send_piece()
        if sender.finish_part():
            self._settle(producer, [sender], _PROBE)
        else:
            self._turn_requests.extend(self._transaction.leave())
        moved = sender.checkpoints.stored != stored
        self._isolation_queue.note(
            began,
            has_helped=moved or sender.handover.retry_at <= monotonic(),  # it backs off where nothing is accepted
            has_others=any(each.session.in_flight.entries for each in self._others(sender)),
        )

    def _others(self, sender: TransactionalSender) -> list[TransactionalSender]:
        return [each for each in tuple(self._senders.values()) if each is not sender]

    def _settle(self, producer: TransactionalProducer, moved: list[TransactionalSender], stuck: float) -> None:
        flushed = self._flush(producer, moved, stuck)
        has_failed = any(sender.handover.has_failed for sender in moved)
        was_purged = any(sender.handover.was_purged for sender in moved)  # by the client itself, see _abort
        if producer.fatal is not None:
            self._recover(producer, producer.fatal)
        elif self.is_over:
            return  # the end of the thread aborts it
        elif flushed is not Flushed.ALL or has_failed or was_purged:
            if flushed is Flushed.SLOW:
                self._transaction.note_end(was_slow=True)
            self._abort(producer, was_stuck=flushed is Flushed.NOT and not has_failed)
        else:
            self._commit(producer, moved)

    def _flush(self, producer: TransactionalProducer, senders: list[TransactionalSender], stuck: float) -> Flushed:
        return flush(producer, senders, stuck, self._intervals.timeouts.flush, lambda: self.is_over)

    def _commit(self, producer: TransactionalProducer, moved: list[TransactionalSender]) -> None:
        if producer.commit(self._intervals.timeouts.end) is not Verdict.DONE:
            self._recover(producer, producer.trouble or "a commit was not answered")
            return
        for sender in moved:
            sender.committed()
        self._answered()
        self._transaction.note_end(was_slow=False)
        self._turn_requests.extend(self._transaction.leave(moved))
        self._continue(producer)

    def _abort(self, producer: TransactionalProducer, *, was_stuck: bool) -> None:
        if producer.abort(self._intervals.timeouts.end) is not Verdict.DONE:
            self._recover(producer, producer.trouble or "an abort was not answered")
            return
        producer.poll()  # the reports about the transaction come before it is forgotten
        for sender in self._transaction.senders:
            sender.aborted(was_stuck=was_stuck)
        self._turn_requests.extend(self._transaction.leave(self._transaction.senders))
        self.renewal = self.renewal or _ABORTED
        self._continue(producer)

    # Other producers

    def _continue(self, producer: TransactionalProducer) -> None:
        """A transaction ended with a known outcome."""
        if producer.was_disturbed:
            self.renewal = _BROKE
            self._renew(producer)
        elif self._is_renewal_due:
            self._renew(producer)

    @property
    def _is_renewal_due(self) -> bool:
        """Not during a rebalance, when a proof may take half a minute: the old producer continues meanwhile."""
        return self.renewal is not None and self.lease.is_proven_within(_PROVEN)

    def _renew(self, producer: TransactionalProducer) -> None:
        """Replace the producer between two transactions: no outcome is unknown."""
        log.info("a shard uses a new producer", shard=self.lease.shard, reason=self.renewal)
        self.renewal = None
        self._abandon(producer)
        self._producer = self._acquired()
        for sender in tuple(self._senders.values()):
            sender.handover.forget()
            self.request_turn(sender)

    def _recover(self, producer: TransactionalProducer, why: str) -> None:
        """The outcome of the present transaction is unknown: only the stored checkpoints tell."""
        log.warning(
            "a shard's transaction has an unknown outcome: reading the stored checkpoints with a new producer",
            shard=self.lease.shard, error=why, fenced=producer.is_fenced,
        )  # fmt: skip
        was_fenced = producer.is_fenced
        self._abandon(producer)
        self.renewal = None
        self._producer = self._acquired(was_fenced=was_fenced)
        self.turned_at = inf
        found = self._reclaim(self.lease)
        self.turned_at = monotonic()
        for key, sender in tuple(self._senders.items()):
            if not sender.resolve(found.get(key)):
                self._restart(sender, found.get(key))
            self.request_turn(sender)

    def _abandon(self, producer: TransactionalProducer) -> None:
        for sender in tuple(self._senders.values()):
            sender.close_fast_path_and_wait()
        producer.abandon()
        self._turn_requests.extend(self._transaction.leave())

    def _acquired(self, *, was_fenced: bool = False) -> TransactionalProducer:
        self.turned_at = inf
        producer = self._id.take(was_fenced=was_fenced)
        self.turned_at = monotonic()
        self._answered()
        return producer

    def _restart(self, sender: TransactionalSender, found: Checkpoint | None) -> None:
        stored = "nothing" if found is None else f"{found.position.epoch}:{found.position.sequence}"
        log.error(
            "Kafka has a checkpoint of this session that its memory does not know: the session starts again from there",
            session=str(sender.session.key), stored=stored, known=str(sender.checkpoints.stored),
        )  # fmt: skip
        sender.restart(f"the checkpoint was changed meanwhile: {stored} is stored in Kafka")

    def free_memory(self) -> None:
        """Free what its sessions held, if the thread ended before they were revoked (any thread)."""
        while self._turn_requests:
            self._turn_requests.popleft().discard_if_revoked()

    def _end(self) -> None:
        self.turned_at = inf
        producer = self._producer
        for sender in tuple(self._senders.values()):
            sender.close_fast_path_and_wait()
        if producer is not None:
            if producer.has_begun and producer.fatal is None:
                producer.abort(_LAST_ABORT)
            producer.abandon()
        for sender in (*tuple(self._senders.values()), *self._transaction.senders):
            sender.discard_if_revoked()
        self.free_memory()
