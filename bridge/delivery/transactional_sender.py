"""Exactly-once delivery of one session: its part of the shard's transaction, and what follows from its outcome.

The worker produces directly into the open transaction. The shard's thread closes the fast path and writes the session's
position into the same transaction (``finish_part``). Then it reports the outcome: ``committed``, ``aborted``, or, if it
is unknown, the checkpoint that is stored in Kafka (``resolve``). No number ever changes: no consumer has read what was
aborted.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import NamedTuple

from structlog.stdlib import get_logger

from bridge.core.entries import Announcement, Batch, Entry, Message, Stage
from bridge.core.records.checkpoint import Checkpoint
from bridge.delivery.checkpoint_writer import CheckpointWriter
from bridge.delivery.handover import Handover
from bridge.delivery.session import Session
from bridge.kafka.client import ProduceFailed, QueueFull
from bridge.kafka.errors import ProduceError, is_purged
from bridge.kafka.transactional import TransactionalProducer

log = get_logger("bridge.delivery")


class Part(NamedTuple):
    """What one session has in a transaction."""

    entries: tuple[Entry, ...]
    checkpoint: Checkpoint


class TransactionalSender:
    """Implements :class:`bridge.delivery.publisher.Sender`.

    Thread rule: everything that is not in that protocol is the shard's thread's.
    """

    def __init__(
        self,
        session: Session,
        checkpoints: CheckpointWriter,
        present: Callable[[], TransactionalProducer],
        request_turn: Callable[[TransactionalSender], None],
    ) -> None:
        """``present`` returns the shard's present producer."""
        self.session = session
        self.checkpoints = checkpoints
        self.part: Part | None = None
        """What it has in the transaction that is being ended, or whose outcome is not known."""
        # The commit acknowledges entries, not a delivery report.
        self.handover = Handover(session, checkpoints, lambda: request_turn(self), lambda _entry: None)
        self._present = present
        self._entries = session.in_flight.entries
        self.taken_before = 0
        """Bytes of the session when its part of the present transaction began."""

    # What the worker calls

    def hand_over(self, batch: Batch) -> None:
        if self.handover.is_fast_path_open:
            self._produce(batch)
        else:
            self.handover.request_turn()

    # What the shard's thread does

    @property
    def is_unwritten(self) -> bool:
        """Its position moved without a record, by skipped events, and is not in Kafka."""
        self.session.advance()
        known = self.session.in_flight
        return known.is_empty and not self.checkpoints.has(known.acknowledged)

    def open(self, budget: int, *, opens_fast_path: bool) -> int:
        """Send up to ``budget`` bytes from memory, then perhaps open the fast path; returns the bytes sent."""
        with self.session.lock:
            if self.session.is_over or self.handover.has_failed:
                return 0
            self.taken_before = self.session.taken
            sent = 0
            for entry in list(self._entries):
                if entry.stage is not Stage.WAITING:
                    continue
                if sent >= budget and isinstance(entry, Batch):
                    return sent
                is_whole = not isinstance(entry, Batch) or self._is_within(entry, budget - sent)
                if not self._send(entry):
                    return sent
                sent += entry.size
                if not is_whole:
                    return sent  # the rest of it is behind it, and goes first in the next transaction
            self.handover.is_fast_path_open = opens_fast_path
            return sent

    def _is_within(self, batch: Batch, budget: int) -> bool:
        """Leave in a batch what fits; False when the rest is behind it now."""
        records = batch.count * budget // max(1, batch.size)
        if records >= batch.count or batch.count <= 1:
            return True
        self.handover.prepare(batch)
        self.session.in_flight.split(batch, max(1, records))
        return False

    def send_piece(self) -> None:
        """Send from memory up to the next isolated piece: alone in its request, and in its transaction."""
        with self.session.lock:
            if self.session.is_over:
                return
            for entry in [each for each in self._entries if each.stage is Stage.WAITING]:
                if isinstance(entry, Batch):
                    self.handover.cut_piece(entry)
                if not self._send(entry) or isinstance(entry, Batch):
                    return

    def finish_part(self) -> bool:
        """Close the fast path, and write the position; False when nothing of it is in the transaction.

        The position covers exactly the entries that were handed over whole. A crash before the commit is acknowledged
        finds the records and the position in Kafka, or neither.
        """
        with self.session.lock:
            handover, session = self.handover, self.session
            handover.is_fast_path_open = False
            session.advance()
            entries = tuple(takewhile(lambda entry: entry.stage is not Stage.WAITING, self._entries))
            if session.is_over and entries:
                handover.has_failed = True  # what it handed over must not be committed without its position
            if handover.has_failed or session.is_over:
                return handover.has_failed
            last = entries[-1] if entries else None
            position = session.in_flight.acknowledged if last is None else last.position
            if position is None or (last is None and self.checkpoints.has(position)):
                return False
            state = self.checkpoints.state_of(position, last)
            overlap_window = session.in_flight.overlap_window_after(entries)
            try:
                checkpoint = self.checkpoints.write_within(position, overlap_window, state, self._checkpoint_failed)
            except QueueFull:  # the transaction has failed, or the client's queue is full: no record is the reason
                handover.was_purged = True
            except ProduceFailed as failure:
                self._checkpoint_failed(failure.error)
            else:
                self.part = Part(entries, checkpoint)
            return True

    def committed(self) -> None:
        part, self.part = self.part, None
        if part is None:
            raise AssertionError(f"{self.session.key}: it has nothing in the transaction")
        for entry in part.entries:
            entry.stage = Stage.ACKNOWLEDGED
        self.checkpoints.note_written(part.checkpoint)
        piece = self.handover.piece
        self.handover.settle_piece()
        if piece is None:
            self.handover.isolation.accepted(0)  # a probe that the checkpoint alone has passed
        self.session.advance()
        self.handover.was_purged = False
        self.handover.note_success()

    def aborted(self, *, was_stuck: bool = False) -> None:
        """Nothing of the transaction is in Kafka. ``was_stuck``: Kafka did not accept it in time."""
        handover = self.handover
        with self.session.lock:
            handover.is_fast_path_open = False
            handover.isolation.note_time(is_too_short=was_stuck)
            # If the session is alone in the transaction, no other session is the reason.
            if is_stuck := handover.was_purged and (was_stuck or handover.isolation.is_active):
                handover.note_topic_failure()
            if is_blamed := is_stuck or handover.has_failed:
                handover.settle_failures()
            self._take_back()
        self.part = None
        if is_blamed:
            self.session.trouble = self.session.trouble or "Kafka has not accepted a record for long"
            handover.note_resend(new_epoch=False)

    def _take_back(self) -> None:
        """Everything that was handed over waits again."""
        self.forget()
        for entry in self._entries:
            if _is_under_way(entry):
                entry.note_unproduced(0)
                entry.stage = Stage.WAITING

    def resolve(self, found: Checkpoint | None) -> bool:
        """Learn from the stored checkpoint whether the transaction was committed; False if it does not show this.

        ``found``: the session's newest checkpoint since the shard was last claimed; None: none was written since.
        """
        part = self.part
        written = None if part is None else (part.checkpoint.position, part.checkpoint.updated_ms)
        if found is not None and (found.position, found.updated_ms) == written:
            self.committed()
        elif found is not None and found.position != self.checkpoints.stored:
            return False
        with self.session.lock:
            self.handover.is_fast_path_open = False
            self._take_back()
        self.part = None
        return True

    @property
    def is_out(self) -> bool:
        """No transaction under way, or of unknown outcome, holds anything of it (any thread)."""
        with self.session.lock:
            return self.part is None and not any(map(_is_under_way, self._entries))

    def restart(self, found: Checkpoint | None) -> None:
        """Its memory is worthless: the session starts again from the checkpoint that Kafka has."""
        stored = "nothing" if found is None else f"{found.position.epoch}:{found.position.sequence}"
        session, self.part = self.session, None
        log.error(
            "Kafka has a checkpoint of this session that its memory does not know: the session starts again from there",
            **session.key.log_fields, stored=stored, known=str(self.checkpoints.stored),
        )  # fmt: skip
        session.stopped.set()
        with session.lock:
            session.must_restart = f"the checkpoint was changed meanwhile: {stored} is stored in Kafka"
            session.is_revoked = True
            self.handover.is_fast_path_open = False

    def forget(self) -> None:
        """The transaction is over: nothing is in flight, so changed topics are followed."""
        self.handover.forget()
        self.handover.partitions = self.checkpoints.new_partitions()

    def discard_if_revoked(self) -> None:
        """Free the memory; call it only where no transaction holds anything of the session."""
        if self.session.is_revoked:
            with self.session.lock:
                self.session.discard()

    def _send(self, entry: Entry) -> bool:
        """Hand one over, under the lock; a barrier is in the position that ends the session's part."""
        if isinstance(entry, Batch):
            self.handover.prepare(entry)
            return self._produce(entry)
        if isinstance(entry, Announcement):
            return self.handover.send_alone(entry, lambda report: self.checkpoints.announce(entry, report))
        entry.stage = Stage.IN_FLIGHT
        return True

    def _produce(self, batch: Batch) -> bool:
        return not batch.count or self.handover.produce(batch, self._present().produce_all)

    def _checkpoint_failed(self, error: ProduceError | None, _message: Message | None = None) -> None:
        if error is not None and is_purged(error):
            self.handover.was_purged = True
        elif error is not None:
            self.handover.note_topic_failure()
            self.checkpoints.note_trouble(error)
            self.session.trouble = self.checkpoints.trouble


def _is_under_way(entry: Entry) -> bool:
    return entry.stage not in {Stage.WAITING, Stage.ACKNOWLEDGED}
