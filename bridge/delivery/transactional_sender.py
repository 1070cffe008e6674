"""Exactly-once delivery of one session: its part of the shard's transaction, and what an abort or a doubt makes of it.

The worker produces straight into the open transaction. The shard's thread closes the way (``shut``), writes the
position it has come to into the same transaction, and says what became of it: ``committed``, ``aborted``, or, where
that is not known, what stands in Kafka (``resolve``). No number is ever changed: what was aborted nobody has seen.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import takewhile
from typing import NamedTuple

from structlog.stdlib import get_logger

from bridge.clock import unix_ms
from bridge.core.in_flight import Announcement, CheckpointBarrier, Entry, Stage
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.rules import Record
from bridge.delivery.checkpoint_writer import CheckpointWriter
from bridge.delivery.encoding import encode_again
from bridge.delivery.in_flight import Window
from bridge.delivery.isolation import Isolation
from bridge.kafka.errors import ProduceError, in_full, is_purged
from bridge.kafka.producer import Produce, ProduceFailed, QueueFull

log = get_logger("bridge.delivery")

_TRIED_AT_ONCE = 50
"""Suspects tried in one transaction, each with a round trip of its own, while the shard's other sessions wait."""


class Part(NamedTuple):
    """What one session has in a transaction."""

    entries: tuple[Entry, ...]
    checkpoint: Checkpoint


class TransactionalSender:
    """See :class:`bridge.delivery.sender.Way`.

    Thread rule: everything that is not in that protocol is the shard's thread's.
    """

    def __init__(
        self,
        window: Window,
        positions: CheckpointWriter,
        present: Callable[[], Produce],
        call: Callable[[TransactionalSender], None],
    ) -> None:
        """``present`` gives the ``produce`` of the shard's present producer."""
        self.window = window
        self.positions = positions
        self.is_direct = False
        self.known: set[str] = set()
        self.produced = 0
        self.part: Part | None = None
        """What it has in the transaction that is being ended, or whose outcome is not known."""
        self.isolation = Isolation(window.key)
        self._present = present
        self._call = call
        self._entries = window.entries
        self._kept: dict[Entry, Record] = {}
        self._taken_before = 0

    # What the worker calls

    @property
    def produce(self) -> Produce:
        """See :class:`~bridge.delivery.sender.Way`."""
        return self._present()

    def meet(self, topic: str) -> None:
        """See :class:`~bridge.delivery.sender.Way`."""
        self.known.add(topic)

    def keep(self, entry: Entry, record: Record) -> None:
        """See :class:`~bridge.delivery.sender.Way`: its number is final, so nothing is encoded twice."""
        self._kept[entry] = record

    def close(self) -> None:
        """See :class:`~bridge.delivery.sender.Way`."""
        self.is_direct = False
        self._call(self)

    def call(self) -> None:
        """See :class:`~bridge.delivery.sender.Way`."""
        self._call(self)

    def awaken(self) -> None:
        """See :class:`~bridge.delivery.sender.Way`."""

    def not_produced(self, entry: Entry, failure: QueueFull | ProduceFailed) -> None:
        """See :class:`~bridge.delivery.sender.Way`."""
        self._take_back(entry, failure)
        self._call(self)

    def report(self, entry: Entry, error: ProduceError | None, _message: object) -> None:
        """A record of the transaction failed; the others are never told of."""
        if error is not None:
            self._fail(entry, error)

    # What the shard's thread does

    @property
    def is_unwritten(self) -> bool:
        """It has come further than Kafka knows, though nothing waits: by events that are not published."""
        self.window.advance()
        watermark = self.window.watermark
        return watermark.is_empty and not self.positions.has(watermark.committable)

    def open(self, budget: int) -> int:
        """Send up to ``budget`` bytes from memory, then let the worker produce; returns the bytes sent."""
        with self.window.lock:
            if self.window.is_over or self.isolation.has_failed:
                return 0
            self._taken_before = self.window.taken
            sent = 0
            for entry in self._entries:
                if entry.stage is not Stage.WAITING:
                    continue
                if (sent >= budget and entry.is_numbered) or not self._sent(entry):
                    return sent
                sent += entry.size
            self.is_direct = True
            return sent

    def try_alone(self, budget: int, settle: Callable[[], bool]) -> None:
        """Send from memory, each suspect in a batch of its own; ``settle`` sees to it that Kafka has what was sent."""
        with self.window.lock:
            waiting = [entry for entry in self._entries if entry.stage is Stage.WAITING]
        tried = sent = 0
        for entry in waiting:
            if sent >= budget and entry.is_numbered:
                return
            is_alone = self.isolation.goes_alone(entry, tried)
            if is_alone and not settle():
                return
            self.isolation.alone = entry if is_alone else None
            with self.window.lock:
                if self.window.is_over or not self._sent(entry):
                    return
            sent += entry.size
            if is_alone:
                tried += 1
                if not settle() or tried == _TRIED_AT_ONCE:
                    return

    def hold(self) -> None:
        """Close the direct way: when this returns, no worker produces or will before the next ``open``."""
        with self.window.lock:
            self.is_direct = False

    def shut(self) -> bool:
        """Close the direct way, and write the position; False when nothing of it is in the transaction."""
        with self.window.lock:
            self.is_direct = False
            window = self.window
            window.advance()
            entries = tuple(takewhile(_is_handed_over, self._entries))
            if window.is_over and entries:
                self.isolation.has_failed = True  # what it handed over must not stand there without its position
            if self.isolation.has_failed or window.is_over:
                return self.isolation.has_failed
            position = entries[-1].position if entries else window.watermark.committable
            if position is None or (not entries and self.positions.has(position)):
                return False
            last = entries[-1] if entries else None
            state = last.state if isinstance(last, CheckpointBarrier) else "active"
            overlap_window = window.watermark.overlap_window_after(entries)
            try:
                checkpoint = self.positions.write_within(position, overlap_window, state, self._checkpoint_failed)
            except QueueFull:  # the transaction has failed, or there is no room: nobody is to blame
                self.isolation.was_purged = True
            except ProduceFailed as failure:
                self._checkpoint_failed(failure.error, None)
            else:
                self.part = Part(entries, checkpoint)
            return True

    def committed(self) -> None:
        """The transaction is in Kafka."""
        part, self.part = self.part, None
        if part is None:
            raise AssertionError(f"{self.window.key}: nothing of it was in the transaction")
        for entry in part.entries:
            entry.stage = Stage.ACKNOWLEDGED
        self.positions.note_written(part.checkpoint)
        self.window.advance()
        self.window.trouble = None
        self.isolation.clear(part.entries)

    def aborted(self, *, was_stuck: bool = False) -> None:
        """Nothing of the transaction is in Kafka. ``was_stuck``: it was given up because something was not taken."""
        with self.window.lock:
            self.is_direct = False
            for entry in self._entries:
                if entry.stage is Stage.IN_FLIGHT:
                    entry.stage = Stage.WAITING
        self.part = None
        if self.isolation.after_abort(was_stuck=was_stuck):
            self._tell_of_abort()

    def resolve(self, found: Checkpoint | None) -> bool:
        """Learn from what was ``found`` in Kafka whether the transaction was committed; False when this cannot be told.

        The newest position of the session since the shard was last claimed; None: none was written since.
        """
        part = self.part
        if part is not None and found is not None and _is(found, part.checkpoint):
            self.committed()
        elif found is not None and found.position != self.positions.standing:
            return False
        self.isolation.forget()
        self.aborted()
        return True

    @property
    def is_out(self) -> bool:
        """No transaction under way, or of unknown outcome, holds anything of it (any thread)."""
        with self.window.lock:
            return self.part is None and not any(entry.stage is Stage.IN_FLIGHT for entry in self._entries)

    def restart(self, why: str) -> None:
        """Its memory is worthless: it is to be started again from what stands in Kafka."""
        self.window.stopped.set()
        self.part = None
        with self.window.lock:
            self.window.must_restart = why
            self.window.is_revoked = True
            self.is_direct = False

    @property
    def bytes_given(self) -> int:
        """What it has added since its part of the present transaction began."""
        return self.window.taken - self._taken_before

    def discard_if_revoked(self) -> None:
        """Give the memory free: only where no transaction holds anything of it."""
        if self.window.is_revoked:
            with self.window.lock:
                self._kept.clear()
                self.window.discard()

    # Sending and failing

    def _sent(self, entry: Entry) -> bool:
        """Hand one over, under the lock; a mark is in the position that ends the session's part."""
        entry.stage = Stage.IN_FLIGHT
        self.produced += 1
        try:
            if isinstance(entry, Announcement):
                self.positions.announce(entry, partial(self.report, entry))
            elif entry.is_numbered:
                self._send_record(entry)
        except (QueueFull, ProduceFailed) as failure:
            self._take_back(entry, failure)
            return False
        return True

    def _take_back(self, entry: Entry, failure: QueueFull | ProduceFailed) -> None:
        """It waits for the next transaction, and so does what comes after it."""
        self.is_direct = False
        self.produced -= 1
        entry.stage = Stage.WAITING
        if isinstance(failure, ProduceFailed):
            self._fail(entry, failure.error)

    def _send_record(self, entry: Entry) -> None:
        rejection = self.isolation.rejection_of(entry)
        record = self._kept.get(entry) if rejection is None else None
        if record is None:
            record = encode_again(self.window, entry, rejection)
        entry.topic = record.topic
        # Neither a clock that was ahead when the event came nor a long wait may make Kafka refuse it for ever.
        now = unix_ms()
        timestamp_ms = now if self.isolation.is_late else min(record.timestamp_ms, now)
        self._present()(
            record.topic, record.value, record.key, record.headers, timestamp_ms, partial(self.report, entry)
        )
        self._kept.pop(entry, None)

    def _fail(self, entry: Entry, error: ProduceError) -> None:
        """One record's failure, under the lock or in the shard's thread."""
        if is_purged(error):
            self.isolation.was_purged = True
            return
        self.is_direct = False
        self.window.trouble = told = in_full(entry.topic or self.positions.topic_of(entry), error)
        if self.isolation.note(entry, error, told):
            self.window.count_dead_letter("rejected")

    def _checkpoint_failed(self, error: ProduceError | None, _message: object) -> None:
        if error is None:
            return
        if is_purged(error):
            self.isolation.was_purged = True
            return
        self.isolation.note_place()
        self.positions.note_trouble(error)
        self.window.trouble = self.positions.trouble

    def _tell_of_abort(self) -> None:
        self.window.counters.rewinds += 1
        self.window.trouble = self.window.trouble or "Kafka has not taken a record for long"
        log.warning(
            "Kafka did not take records: sending again from memory",
            session=str(self.window.key), error=self.window.trouble, records=len(self._entries), new_epoch=False,
        )  # fmt: skip


def _is_handed_over(entry: Entry) -> bool:
    return entry.stage is not Stage.WAITING


def _is(found: Checkpoint, written: Checkpoint) -> bool:
    return found.position == written.position and found.updated_ms == written.updated_ms
