"""Producing one session's entries, and sorting out what failed: the same for both guarantees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from structlog.stdlib import get_logger

from bridge.clock import Backoff, monotonic, unix_ms
from bridge.core.entries import Announcement, Batch, Entry, Message, Stage
from bridge.core.records.record import Record
from bridge.core.records.topics import batch_bytes
from bridge.delivery.checkpoint_writer import CheckpointWriter
from bridge.delivery.refusals import Isolation, RefusedRecord, SizeRefusals, encode_batch
from bridge.delivery.session import Session
from bridge.kafka.client import ProduceAll, ProduceFailed, QueueFull, Report
from bridge.kafka.errors import (
    ErrorScope,
    ProduceError,
    in_full,
    in_words,
    is_for_age,
    is_for_size,
    is_purged,
    scope_of,
)
from bridge.kafka.record_clock import RECORD_CLOCK

log = get_logger("bridge.delivery")

_BACKOFF = Backoff(0.5, 30.0)
"""Seconds between two attempts at a topic that accepts nothing: quick at first, never a flood."""


class Handover:
    """Hands one session's entries to producers, listens for their failures, and decides what goes next.

    Thread rule: ``produce`` and ``close_fast_path`` under the session's lock; ``request_turn`` any thread; everything
    else is the delivery thread's.
    """

    def __init__(
        self,
        session: Session,
        checkpoints: CheckpointWriter,
        request_turn: Callable[[], None],
        note: Callable[[Entry], None],
    ) -> None:
        """``request_turn`` asks the delivery thread for a turn (any thread); ``note``: an entry is acknowledged."""
        self.is_fast_path_open = False
        """The worker produces itself. Otherwise it only remembers, and delivery sends from memory."""
        self.request_turn = request_turn
        self.acknowledged = note
        self.isolation = Isolation()
        self.has_failed = False
        """Something failed since everything was last made ready to be sent again."""
        self.was_purged = False
        """Something was still queued when its producer or transaction was abandoned."""
        self.size_refusals = SizeRefusals(session.encoder.limits)
        self.retry_at = 0.0
        self.partitions = checkpoints.new_partitions()
        """Of the session's records; replaced only while nothing is in flight, or a later record could be written to
        another partition, where nothing keeps it from passing an earlier one."""
        self.piece: Batch | None = None
        """The batch that is alone in its request."""
        self._session = session
        self._topics = checkpoints.topics
        self._is_late = False  # Kafka refused the time of a record: it is sent again with the present time
        self._has_topic_failed = False
        self._error: ProduceError | None = None
        self._cut: list[Batch] = []
        self._retries = 0

    def close_fast_path(self) -> None:
        """Delivery must send what was added (under the session's lock)."""
        self.is_fast_path_open = False
        self.request_turn()

    def close_fast_path_and_wait(self) -> None:
        """When this returns, no worker produces or will before the delivery thread opens the fast path again."""
        with self._session.lock:
            self.close_fast_path()
            self.note_reports()  # before a new producer: an old report must not introduce it

    # Listener

    def failed(self, entry: Entry, error: object, _message: Message | None = None, /) -> Stage:
        """One record failed: records and returns; the next turn of the delivery thread acts."""
        failure = cast("ProduceError", error)
        if is_purged(failure):
            self.was_purged = True
            return Stage.LOST
        session = self._session
        session.trouble = text = in_full(self._topic(entry, _message), failure)
        if is_for_age(failure) and self._is_late:  # with the present time: this machine's clock is wrong
            RECORD_CLOCK.refused()
        self._is_late = self._is_late or is_for_age(failure)
        if is_for_size(failure):
            self.size_refusals.note()
        fault = scope_of(failure)
        self._fail()
        if fault is ErrorScope.FATAL:
            return Stage.LOST
        if fault is ErrorScope.RECORD and isinstance(entry, Announcement):
            self._leave_out(entry, text)
            return Stage.ACKNOWLEDGED
        if fault is ErrorScope.RECORD and isinstance(entry, Batch):
            self._error = failure
            return Stage.REFUSED
        self._has_topic_failed = True
        return Stage.FAILED

    def _fail(self) -> None:
        self.has_failed = True
        self.close_fast_path()

    def _topic(self, entry: Entry, message: Message | None) -> str:
        if message is not None:
            return message.topic() or ""
        return next(iter(entry.counts), "") if isinstance(entry, Batch) else self._topics.of(entry)

    def _leave_out(self, entry: Announcement, text: str) -> None:
        # Kafka would refuse it for ever, and everything behind it would wait.
        log.error(
            "Kafka refuses a lifecycle record: it is not published",
            **self._session.key.log_fields, error=text,
            kind=entry.lifecycle_event.kind, detail=entry.lifecycle_event.detail, setting="topics.lifecycle",
        )  # fmt: skip

    def note_topic_failure(self) -> None:
        """The checkpoints topic accepts nothing at present."""
        self._has_topic_failed = True
        self._fail()

    # Sending

    def produce(self, batch: Batch, produce_all: ProduceAll) -> bool:
        """Produce a batch that has its records; False when the client did not take all of it.

        The hand-over stops at the first record that the client does not take: that record goes before anything newer.
        A crash at any point is harmless: no checkpoint covers the batch before every record of it is reported.
        """
        records = batch.records
        if records is None:
            raise AssertionError(f"{self._session.key}: a batch is produced without its records")
        batch.note_produced(len(records), self)
        taken, failure = produce_all(records, batch.report, self.partitions)
        if failure is None:
            batch.records = None
            return True
        self._note_unproduced(batch, taken, failure)
        if not isinstance(failure, QueueFull | ProduceFailed):
            raise failure  # a bug; what was not taken waits in memory, so the session can still settle or be resent
        return False

    def _note_unproduced(self, entry: Entry, taken: int, failure: Exception) -> None:
        self.close_fast_path()
        rest = entry
        if taken and isinstance(entry, Batch):
            rest = self._session.in_flight.split(entry, taken)
            entry.records = None
            self._cut.append(entry)
        else:
            entry.stage = Stage.WAITING
        entry.note_unproduced(taken)
        if isinstance(failure, ProduceFailed):
            rest.worsen(self.failed(rest, failure.error))
            if rest.stage is Stage.REFUSED:  # it is known which record it was
                self.isolation.begin(suspect=1)

    def send_alone(self, entry: Entry, send: Callable[[Report], None]) -> bool:
        """Produce the record of an entry that is no batch; False when the client did not take it."""
        entry.note_produced(1, self)
        try:
            send(entry.report)
        except (QueueFull, ProduceFailed) as failure:
            self._note_unproduced(entry, 0, failure)
            return False
        return True

    def prepare(self, batch: Batch) -> Sequence[Record]:
        """Give a batch that is sent from memory its records, under the numbers it has now."""
        if batch.records is None:
            refusal = batch.refusal
            encoder = self._session.encoder
            if isinstance(refusal, RefusedRecord):
                batch.encode_again(refusal.dead_letter(encoder, batch))
            else:
                batch.encode_again(encode_batch(encoder, batch))
        # Neither a clock that was ahead when the event came nor a long wait may make Kafka refuse a record for ever.
        now = unix_ms()
        records = batch.records or ()
        if self._is_late or any(record.timestamp_ms > now for record in records):
            records = [record._replace(timestamp_ms=now) for record in records]
        batch.records = records
        return records

    def cut_piece(self, batch: Batch) -> None:
        """Leave as many records in the batch as go next in one request: all for one topic, and below its size."""
        records = self.prepare(batch)
        topic = records[0].topic
        available, free_bytes = 0, self._session.encoder.batch_size
        for record in records:
            free_bytes -= batch_bytes(record.key, record.value, record.headers)
            if record.topic != topic or free_bytes < 0:
                break
            available += 1
        available = max(1, available)
        size = self.isolation.piece(available)
        if size < len(records):
            self._session.in_flight.split(batch, size)
        self.piece = batch

    # The result

    def note_reports(self) -> None:
        """The reports of a batch that was cut may have come before it was known how many there are."""
        while self._cut:
            self._cut.pop().note_reports()

    def settle_piece(self) -> None:
        """The piece is answered: learn from it. Batches that were cut need not be kept any longer."""
        self.note_reports()
        piece, self.piece = self.piece, None
        if piece is None:
            return
        if piece.stage is Stage.ACKNOWLEDGED:
            self.isolation.accepted(piece.count)
        elif piece.stage is Stage.REFUSED and self.isolation.refused(piece.count):
            self._reject(piece)

    def _reject(self, piece: Batch) -> None:
        if self._error is None:
            raise AssertionError(f"{self._session.key}: a record is refused without an error")
        known = piece.refusal
        refusal = known.again(self._error) if isinstance(known, RefusedRecord) else RefusedRecord(in_words(self._error))
        if refusal is None:
            self._has_topic_failed = True
            return
        if known is None:
            self._session.dead_letters["rejected"] += 1
            if is_for_size(self._error):
                record = encode_batch(self._session.encoder, piece).records[0]
                size = batch_bytes(record.key, record.value, record.headers)
                self._session.encoder.limits.learn(record.topic, size)
        piece.refusal = refusal
        piece.records = None

    def settle_failures(self) -> None:
        """All reports are in: isolate batches that Kafka refused, and wait if a topic accepts nothing."""
        refused = [entry for entry in self._session.in_flight.entries if entry.stage is Stage.REFUSED]
        if refused and self.size_refusals.are_explained():
            self.piece = None  # larger records become dead letters without a search
            for entry in self._session.in_flight.entries:
                if isinstance(entry, Batch) and entry.stage is not Stage.ACKNOWLEDGED:
                    entry.records = None
        else:
            self.settle_piece()
            if refused:
                self.isolation.begin()
        if self._has_topic_failed:
            self.isolation.probe()
            self.retry_at = monotonic() + _BACKOFF.delay(self._retries)
            self._retries += 1
        self.has_failed = self.was_purged = self._has_topic_failed = False

    def note_resend(self, *, new_epoch: bool) -> None:
        """Everything that is not in Kafka waits again, and will be sent from memory."""
        session = self._session
        session.rewinds += 1
        log.warning(
            "Kafka did not accept records: sending again from memory",
            **session.key.log_fields, error=session.trouble, events=session.pending, new_epoch=new_epoch,
        )  # fmt: skip

    def forget(self) -> None:
        """The transaction that failures were about is over."""
        self.has_failed = self.was_purged = False
        self.piece = None
        self._cut.clear()

    def note_success(self) -> None:
        """The session's position moved in Kafka, and nothing failed."""
        self._session.trouble = None
        self._retries = 0
        if not self.isolation.is_active:
            self._is_late = False
