"""One shard's transactions: one producer, and one thread that ends each transaction and reports it to the sessions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.delivery.budget import MemoryBudget
from bridge.delivery.lease import Lease
from bridge.delivery.protocol import Limits, Progress, Reclaim
from bridge.delivery.shard_senders import Flushed, IsolationQueue, ShardSenders, Transaction
from bridge.delivery.transactional_id import TransactionalId
from bridge.delivery.transactional_sender import TransactionalSender
from bridge.errors import Stopped
from bridge.kafka.transactional import TransactionalProducer, Verdict

log = get_logger("bridge.delivery")

_IDLE = 0.5
"""Seconds between two turns when no session has records to send."""
_BUSY = 0.025
"""Seconds between two turns during a shutdown."""
_PROVEN = 3.0
"""Seconds: a membership that was proved so recently can be proved again immediately."""
_BROKE = "a connection broke, and a request on it may still arrive"
_ABORTED = "the client changes its epoch in the middle of the transaction after an abort, which ends that one as well"
_LAST_ABORT = 3.0
"""Seconds for the abort when the shard is released, so that consumers need not wait for the brokers to do it."""


class ShardThread:
    """The transactions of one lease of one shard.

    Thread rule: the supervisor calls ``start``, ``flush``, ``stop``, ``leave`` and ``join``; everything else runs in
    this thread. No lock is held while a call to Kafka waits.
    """

    def __init__(  # noqa: PLR0913 - its collaborators, given once
        self,
        lease: Lease,
        make: Callable[[], TransactionalProducer],
        limits: Limits,
        budget: MemoryBudget,
        *,
        reclaim: Reclaim,
        ready: Callable[[], None],
        answered: Callable[[], None],
    ) -> None:
        """``ready``: this process has the transactional id; ``answered``: Kafka has accepted something."""
        self.lease = lease
        self.bug: Exception | None = None
        self.turned_at = monotonic()
        """When the last turn began, by :func:`bridge.clock.monotonic`; infinity during waits without a limit."""
        self._timeouts = limits.timeouts
        self._budget = budget
        self._reclaim = reclaim
        self._ready = ready
        self._answered = answered
        self.senders = ShardSenders(limits.checkpoint_interval)
        self._producer: TransactionalProducer | None = None
        self._wake = self.senders.wake
        self._flush_requested = threading.Event()
        self._stopping = threading.Event()
        self._left = threading.Event()
        self._id = TransactionalId(lease, make, limits.timeouts.end, self._left)
        self.renewal: str | None = None
        """Why the next transaction must have a new producer; set by any thread."""
        self._transaction = Transaction(limits.transaction_interval, limits.timeouts)
        self.progress = Progress()
        self._isolation_queue = IsolationQueue()
        self._thread = threading.Thread(target=self._run, name=f"shard {lease.shard}", daemon=True)

    # Other threads

    def start(self) -> None:
        self._thread.start()

    def present(self) -> TransactionalProducer:
        if self._producer is None:
            raise AssertionError("a record before there is a producer")
        return self._producer

    def flush(self) -> None:
        self._flush_requested.set()
        self._wake.set()

    def stop(self) -> None:
        self._stopping.set()
        self.flush()

    def leave(self) -> None:
        """End immediately: an open transaction is aborted."""
        self._left.set()
        self._wake.set()

    def join(self, deadline: float) -> bool:
        if self._thread.is_alive():
            self._thread.join(max(0.0, deadline - monotonic()))
        return not self._thread.is_alive()

    @property
    def is_over(self) -> bool:
        return self._left.is_set() or self.lease.is_over

    # The thread

    def _run(self) -> None:
        try:
            self._producer = self._acquired()
            self._ready()
            while not self.is_over and not (self._stopping.is_set() and self.senders.is_settled):
                self.turned_at = monotonic()
                self.turn()
        except Stopped:
            log.info("a shard's transactions end: its lease is over", shard=self.lease.shard)
        except Exception as bug:  # noqa: BLE001 - the main thread raises it: a thread's own death would go unnoticed
            self.bug = bug
        finally:
            self._end()

    def turn(self) -> None:
        """Run one turn: let sessions join the transaction, and end it when it is due."""
        producer = self.present()
        self._wake.clear()
        self.senders.find_unwritten(self._transaction.senders, is_flush=self._flush_requested.is_set())
        if not self._transaction.senders:
            if self.progress.delay and not self._flush_requested.is_set():
                self._wake.wait(min(_IDLE, self.progress.delay))  # what is sent before would be answered afterwards
                return
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
            self._end_transaction(producer, self._timeouts.stuck)
        else:
            self._wake.wait(self._transaction.rest)

    def _between(self, producer: TransactionalProducer) -> None:
        """The present transaction is empty, or there is none."""
        if self.senders.is_settled:
            self.progress.note(is_idle=True)
        if self._is_renewal_due:
            self._renew(producer)
        else:
            self._wake.wait(max(0.0, min(_BUSY if self._stopping.is_set() else _IDLE, self._isolation_queue.rest)))

    # One transaction

    def _open_requested(self, producer: TransactionalProducer) -> None:
        requests = self.senders.take_requests()
        for sender in requests:
            if sender not in self._transaction.senders:
                sender.discard_if_revoked()
            if sender.handover.isolation.is_active:
                self._isolation_queue.add(sender)
            elif not sender.handover.has_failed and not sender.session.is_revoked:
                self._transaction.join(producer, sender)
        if requests:
            self._budget.wake()
            self.progress.begin()

    def _end_transaction(self, producer: TransactionalProducer, stuck: float) -> None:
        moved = [sender for sender in self._transaction.senders if sender.finish_part()]
        if moved:
            self._settle(producer, moved, stuck)
        else:  # it stays open, which only this client knows
            self.senders.request_turns(self._transaction.leave())

    def _isolate(self, producer: TransactionalProducer, sender: TransactionalSender) -> None:
        """A transaction of one isolated session: it must not delay the others for long."""
        began, stored = monotonic(), sender.checkpoints.stored
        self._transaction.join(producer, sender, is_isolated=True)
        sender.send_piece()
        self._end_transaction(producer, sender.handover.isolation.time_limit)
        moved = sender.checkpoints.stored != stored
        self._isolation_queue.note(
            began,
            has_helped=moved or sender.handover.retry_at <= monotonic(),  # it backs off where nothing is accepted
            has_others=any(each.session.in_flight.entries for each in self.senders.all() if each is not sender),
        )

    def _settle(self, producer: TransactionalProducer, moved: list[TransactionalSender], stuck: float) -> None:
        flushed = self._transaction.flush(producer, moved, stuck, lambda: self.is_over)
        self.progress.note_throttle(producer.throttle)
        # The client itself may have purged some, see _ABORTED.
        has_failed = any(sender.handover.has_failed or sender.handover.was_purged for sender in moved)
        if producer.fatal is not None:
            self._recover(producer, producer.fatal)
        elif self.is_over:
            return  # the end of the thread aborts it
        elif flushed is not Flushed.ALL or has_failed:
            self._abort(producer, was_stuck=flushed is Flushed.STUCK)
        else:
            self._commit(producer, moved)

    def _commit(self, producer: TransactionalProducer, moved: list[TransactionalSender]) -> None:
        if producer.commit(self._timeouts.end) is not Verdict.DONE:
            self._recover(producer, producer.trouble or "a commit was not answered")
            return
        for sender in moved:
            sender.committed()
        self._answered()
        self.progress.note()
        self.senders.request_turns(self._transaction.leave(moved))
        self._continue(producer)

    def _abort(self, producer: TransactionalProducer, *, was_stuck: bool) -> None:
        if producer.abort(self._timeouts.end) is not Verdict.DONE:
            self._recover(producer, producer.trouble or "an abort was not answered")
            return
        producer.poll()  # the reports about the transaction come before it is forgotten
        while (
            any(sender.handover.size_refusals.awaits_limits for sender in self._transaction.senders)
            and not self.is_over
        ):
            self._left.wait(_BUSY)
        for sender in self._transaction.senders:
            sender.aborted(was_stuck=was_stuck)
        self.senders.request_turns(self._transaction.leave(self._transaction.senders))
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
        self._abandon(producer)
        self._producer = self._acquired()
        for sender in self.senders.all():
            sender.forget()
            self.senders.request_turn(sender)

    def _recover(self, producer: TransactionalProducer, why: str) -> None:
        """The outcome of the present transaction is unknown: only the stored checkpoints show it."""
        log.warning(
            "a shard's transaction has an unknown outcome: reading the stored checkpoints with a new producer",
            shard=self.lease.shard, error=why, fenced=producer.is_fenced,
        )  # fmt: skip
        self._abandon(producer)
        self._producer = self._acquired(was_fenced=producer.is_fenced)
        self.turned_at = inf
        found = self._reclaim(self.lease)
        self.turned_at = monotonic()
        self.senders.resolve(found)

    def _abandon(self, producer: TransactionalProducer) -> None:
        self.senders.close_fast_paths()
        producer.abandon()
        self._producer = self.renewal = None
        self.senders.request_turns(self._transaction.leave())

    def _acquired(self, *, was_fenced: bool = False) -> TransactionalProducer:
        self.turned_at = inf
        producer = self._id.take(was_fenced=was_fenced)
        self.turned_at = monotonic()
        self._answered()
        return producer

    def _end(self) -> None:
        self.turned_at = inf
        producer = self._producer
        self.senders.close_fast_paths()
        if producer is not None:
            if producer.has_begun and producer.fatal is None:
                producer.abort(_LAST_ABORT)
            producer.abandon()
        for sender in (*self.senders.all(), *self._transaction.senders):
            sender.discard_if_revoked()
        self.senders.free_memory()
