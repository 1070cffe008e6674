"""What a session has submitted and Kafka has not acknowledged yet: submitted, acknowledged, committable.

(After Kafka Connect's ``SubmittedRecords``.) The unit is a batch: the events of one read of a stream. Acknowledgements
may come in any order; the acknowledged position moves only over an unbroken run of acknowledged entries from the oldest
on. So a checkpoint at that position never claims more than Kafka has.

Thread rule: one thread submits; one other thread runs the delivery reports, advances and renumbers. Entries are added,
split and renumbered under the session's lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from typing import ClassVar, Literal, NamedTuple, Protocol

from bridge.core.identity import Position, new_epoch
from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.records.rules import Encoded, Record, counts_of, cursor_after
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow, extended


class Stage(Enum):
    """The state of an entry; :data:`AFTER_REPORT` and :func:`plan_resend` say what follows from it."""

    WAITING = auto()
    """In memory only: not produced yet, or to be produced again."""
    IN_FLIGHT = auto()
    ACKNOWLEDGED = auto()
    FAILED = auto()
    """Some of it is not in Kafka, for a reason that concerns the whole topic."""
    LOST = auto()
    """Unknown: its producer was replaced before all reports came. A gap-less producer wrote at most a beginning."""
    REFUSED = auto()
    """Kafka refused one of its records, or a record of another session in the same request."""


_WORSE = {Stage.IN_FLIGHT: 0, Stage.FAILED: 1, Stage.LOST: 2, Stage.REFUSED: 3}


class Message(Protocol):
    """The record in a delivery report."""

    def topic(self) -> str | None:
        """Its topic."""
        ...


class Listener(Protocol):
    """Hears of an entry's delivery reports, in the thread that polls."""

    def acknowledged(self, entry: Entry, /) -> None:
        """All records of the entry are in Kafka."""
        ...

    def failed(self, entry: Entry, error: object, message: Message, /) -> Stage:
        """One record of the entry failed; returns the stage that follows from the error."""
        ...


class Entry:
    """One place in the order of a session. A checkpoint may cover it only after Kafka has acknowledged it."""

    __slots__ = ("epoch", "last_event_id", "listener", "produced", "reported", "sequence", "size", "stage")
    is_barrier: ClassVar[bool] = False
    """It is produced when it is the oldest, and nothing behind it is produced before it is acknowledged."""
    length: int = 1
    """How much it counts towards ``delivery.max_in_flight``."""

    def __init__(self, position: Position, size: int = 0) -> None:
        self.epoch, self.sequence, self.last_event_id = position
        self.size = size
        self.stage = Stage.WAITING
        self.produced = self.reported = 0
        """Records and their delivery reports: each is written by one thread, the one that produces or that polls."""
        self.listener: Listener | None = None

    @property
    def position(self) -> Position:
        """The position of a session that has come as far as this entry."""
        return Position(self.epoch, self.sequence, self.last_event_id)

    @property
    def is_unreported(self) -> bool:
        """Whether a delivery report is still to come."""
        return self.reported < self.produced

    def note_produced(self, records: int, listener: Listener) -> None:
        """``records`` of it are about to be produced: so many reports come."""
        self.listener, self.reported, self.produced = listener, 0, records
        self.stage = Stage.IN_FLIGHT

    def note_unproduced(self, produced: int) -> None:
        """The client took only so many; its reports may have come before this is known."""
        self.produced = produced

    def note_reports(self) -> None:
        """Acknowledge it if all reports came before it was known how many there are (the acknowledging thread)."""
        if self.stage is Stage.IN_FLIGHT and self.reported == self.produced and self.listener is not None:
            self.stage = Stage.ACKNOWLEDGED
            self.listener.acknowledged(self)

    def report(self, error: object, message: Message) -> None:
        """The delivery report of one of its records (any entry but a batch has one)."""
        self.reported += 1
        if error is not None and self.listener is not None:
            self.worsen(self.listener.failed(self, error, message))
        else:
            self.note_reports()

    def worsen(self, stage: Stage) -> None:
        """Some of it is not in Kafka, or may not be. The worst news counts."""
        if stage is Stage.ACKNOWLEDGED or _WORSE.get(stage, 0) > _WORSE.get(self.stage, -1):
            self.stage = stage

    def lose(self) -> None:
        """No more reports will come."""
        if self.is_unreported:
            self.produced = self.reported
            self.worsen(Stage.LOST)


class Passed(NamedTuple):
    """One event, and the stream's last event id after it (:class:`bridge.core.stream.overlap.Passed`)."""

    event: Event | None
    last_event_id: str


class Batch(Entry):
    """The events of one read: published ones, which have a record and a number each, and skipped ones.

    Its one bound method :meth:`report` is the delivery callback of every record, so each record is proved and no object
    is made for one.
    """

    __slots__ = ("_failures", "_is_mixed", "counts", "events", "is_overtaken", "places", "records", "refusal", "start")

    def __init__(self, events: Sequence[Event], encoded: Encoded, start: Position) -> None:
        """``start``: the position before it."""
        number = start.sequence + len(encoded.records)
        super().__init__(Position(start.epoch, number, encoded.last_event_id), encoded.size)
        self.events = events
        self.start = start
        self.records: Sequence[Record] | None = encoded.records
        """None once they were all produced: the client has them, and they are encoded again to be sent again."""
        self.places = encoded.places
        """Which event each record was made of; None when each event has one."""
        self.counts = encoded.counts
        """Records by topic."""
        self.refusal: object = None
        """Why Kafka refused its only record, which therefore goes to the dead letters."""
        self.is_overtaken = False
        """A record of it is in a topic that an earlier one of it has yet to reach."""
        self._failures: dict[str, list[int]] = {}
        if not encoded.records:
            self.stage = Stage.ACKNOWLEDGED

    @property
    def length(self) -> int:  # type: ignore[override]  # the others are of length 1
        """Events, skipped ones included."""
        return len(self.events)

    @property
    def count(self) -> int:
        """Its records."""
        return self.sequence - self.start.sequence

    def report(self, error: object, message: Message) -> None:
        """The delivery report of one of its records (the hottest line of the delivery thread)."""
        self.reported += 1
        if error is not None or self._failures:
            self._note(error, message)
        elif self.reported == self.produced:
            self.note_reports()

    def _note(self, error: object, message: Message) -> None:
        topic = message.topic() or ""
        if error is None:
            # Reports of one partition come in order, so this record stands behind one that failed.
            self.is_overtaken = self.is_overtaken or topic in self._failures
            return
        stage = self.listener.failed(self, error, message)  # type: ignore[union-attr]  # it was produced
        self.worsen(stage)
        failures = self._failures.setdefault(topic, [0, 0])
        failures[0] += 1
        failures[1] += stage is Stage.FAILED

    def settle_failures(self) -> None:
        """All reports are in. Of a topic of which only some records failed it is not known that they are the last ones.

        After a refusal they are: behind it a gap-less producer writes nothing.
        """
        for topic, (failed, by_place) in self._failures.items():
            self.is_overtaken = self.is_overtaken or (by_place > 0 and failed < self.counts.get(topic, 0))
        self._failures = {}

    def backwards(self) -> Iterator[Passed]:
        """Its events from the newest on, each with the stream's last event id after it."""
        run: list[Event] = []
        for event in reversed(self.events):
            run.append(event)
            if event.id is not None:
                yield from self._passed(run, cursor_after("", (event,)))
                run.clear()
        yield from self._passed(run, self.start.last_event_id)

    @staticmethod
    def _passed(run: Iterable[Event], last_event_id: str) -> Iterator[Passed]:
        return (Passed(event if event.name else None, last_event_id) for event in run)

    def split(self, records: int) -> Batch:
        """Keep the first ``records`` (at least one, not all) and the events up to them; returns a batch of the rest."""
        if self.records is None or not 0 < records < len(self.records):
            raise AssertionError(f"a batch of {self.count} cannot be split at {records}")
        at = records if self.places is None else self.places[records]
        first, rest = self.events[:at], self.events[at:]
        middle = Position(self.epoch, self.start.sequence + records, cursor_after(self.start.last_event_id, first))
        size = self.size * at // len(self.events)
        tail = Batch(
            rest,
            Encoded(
                self.records[records:],
                None if self.places is None else [place - at for place in self.places[records:]],
                len(rest), self.last_event_id, self.size - size, counts_of(self.records[records:]),
            ),
            middle,
        )  # fmt: skip
        self.events, self.records, self.size = first, self.records[:records], size
        self.places = None if self.places is None else self.places[:records]
        self.counts = counts_of(self.records)
        _, self.sequence, self.last_event_id = middle
        return tail

    def encode_again(self, encoded: Encoded) -> None:
        """New records under the same numbers, which may go to other topics."""
        self.records, self.places, self.counts = encoded.records, encoded.places, encoded.counts

    def renumber(self, epoch: int, sequence: int) -> None:
        """Its first record gets the number after ``sequence``; it is encoded again when it is sent."""
        self.sequence += sequence - self.start.sequence
        self.start = self.start._replace(epoch=epoch, sequence=sequence)
        self.epoch = epoch
        self.records = None
        self.is_overtaken = False
        if self.count:
            self.stage = Stage.WAITING


class CheckpointBarrier(Entry):
    """A checkpoint with a barrier: a session's first position, a new epoch, uncertain ids, or the end.

    It is produced when everything before it is acknowledged, and nothing behind it is produced before it is
    acknowledged. A crash before its acknowledgement finds the old epoch complete and nothing of the new one; a crash
    after it finds the new epoch checkpointed.
    """

    __slots__ = ("overlap_window", "state")
    is_barrier = True

    def __init__(
        self, position: Position, overlap_window: OverlapWindow, state: Literal["active", "ended"] = "active"
    ) -> None:
        super().__init__(position)
        self.overlap_window = overlap_window
        self.state: Literal["active", "ended"] = state

    @property
    def begins_epoch(self) -> bool:
        """Whether what follows is numbered from 1."""
        return self.sequence == 0 and self.state == "active"


class Announcement(Entry):
    """A lifecycle record. It is a barrier: everything up to its number is in Kafka before it."""

    __slots__ = ("checkpoint", "lifecycle_event")
    is_barrier = True

    def __init__(
        self, lifecycle_event: LifecycleEvent, position: Position, checkpoint: CheckpointBarrier | None = None
    ) -> None:
        """``checkpoint``: that of the new epoch, which follows at once."""
        super().__init__(position)
        self.lifecycle_event = lifecycle_event
        self.checkpoint = checkpoint

    @property
    def new_epoch(self) -> int | None:
        """The epoch that begins here. It is final only when the record is produced: a failure before may raise it."""
        return None if self.checkpoint is None or self.checkpoint.epoch == self.epoch else self.checkpoint.epoch


SENT_AGAIN = LifecycleEvent(
    "resumed", "kafka_refused", "Kafka refused a record: the events after it get new numbers, some may come again",
    missing=0,
)  # fmt: skip
_NEWEST_BYTES = 32 * 1024
"""Bytes, as counted for the memory budget, of passed batches that are kept to be digested together. Only the newest
ids are looked at, and a checkpoint asks for them some times a second."""


class InFlight:
    """The entries of one session that are not passed, and the position up to which everything is acknowledged."""

    __slots__ = (
        "_is_passing", "_lock", "_newest", "_newest_bytes", "_overlap_window", "acknowledged", "entries", "length",
        "passed", "passed_length",
    )  # fmt: skip

    def __init__(self, acknowledged: Position | None, overlap_window: OverlapWindow) -> None:
        """``overlap_window``: of the stream up to ``acknowledged``."""
        self.entries: deque[Entry] = deque()
        self.acknowledged = acknowledged
        """None before the first checkpoint is acknowledged: there is no position to write."""
        self.passed: dict[str, int] = {}
        """Records that are in Kafka, by topic."""
        self.length = self.passed_length = 0
        """Lengths of all entries that were ever submitted, and of those that are passed."""
        self._is_passing = False
        self._overlap_window = overlap_window  # of the stream up to the entries in ``_newest``, which passed last
        self._newest: list[Entry] = []
        self._newest_bytes = 0
        self._lock = threading.Lock()  # nobody reads a window while entries are moved into it

    def submit(self, *entries: Entry) -> None:
        """Add the newest entries (the submitting thread)."""
        for entry in entries:
            self.length += entry.length
            self.entries.append(entry)

    @property
    def is_empty(self) -> bool:
        """Everything submitted is passed, and ``acknowledged`` says so (any thread)."""
        return not self.entries and not self._is_passing

    @property
    def overlap_window(self) -> OverlapWindow:
        """The window of the stream up to ``acknowledged`` (the acknowledging thread)."""
        with self._lock:
            return self._fold()

    @property
    def submitted(self) -> OverlapWindow:
        """The window of the stream up to the newest entry (the submitting thread)."""
        with self._lock:
            known, entries = self._fold(), list(self.entries)
        return _extended(known, entries)

    def overlap_window_after(self, entries: Sequence[Entry]) -> OverlapWindow:
        """The window of the stream up to the last of ``entries``, the oldest ones (the acknowledging thread)."""
        with self._lock:
            return _extended(self._fold(), entries)

    def _fold(self) -> OverlapWindow:
        if self._newest:
            self._overlap_window = _extended(self._overlap_window, self._newest)
            self._newest, self._newest_bytes = [], 0
        return self._overlap_window

    def advance(self) -> int:
        """Pass every acknowledged entry at the head; returns the bytes they held (the acknowledging thread)."""
        entries = self.entries
        if not entries or entries[0].stage is not Stage.ACKNOWLEDGED:
            return 0
        self._is_passing = True  # without it a reader could see no entries and the position before them
        freed = 0
        with self._lock:
            while entries and entries[0].stage is Stage.ACKNOWLEDGED:
                entry = entries.popleft()
                self._newest.append(entry)
                freed += entry.size
                self.passed_length += entry.length
                if isinstance(entry, Batch):
                    self._count(entry)
            self._newest_bytes += freed
            if self._newest_bytes > _NEWEST_BYTES:
                self._fold()
            self.acknowledged = entry.position
        self._is_passing = False
        return freed

    def _count(self, batch: Batch) -> None:
        batch.listener = None
        for topic, count in batch.counts.items():
            self.passed[topic] = self.passed.get(topic, 0) + count

    def discard(self) -> None:
        """Forget all entries."""
        self.entries.clear()
        self.passed_length = self.length

    def split(self, batch: Batch, records: int) -> Batch:
        """Split a batch in its place; returns the batch of the rest."""
        tail = batch.split(records)
        if self.entries[-1] is batch:  # the submitting thread knows no other place: entries pass meanwhile
            self.entries.append(tail)
        else:
            self.entries.insert(self.entries.index(batch) + 1, tail)
        return tail

    def rewind(self, unix_seconds: int, *, new_epoch_needed: bool) -> None:
        """Make entries without a report to come ready to be sent again from memory, with new numbers if needed.

        A new epoch's barrier stands at the head then, and the entries behind it carry new numbers: the caller's next
        number follows the last entry. The barrier is acknowledged before the first record with a new number is
        produced, so a crash at any point finds either the old numbering, or the new epoch's checkpoint.
        """
        for entry in self.entries:
            if entry.stage in {Stage.FAILED, Stage.REFUSED, Stage.LOST}:
                entry.stage = Stage.WAITING
            if isinstance(entry, Batch):
                entry.is_overtaken = False
        if new_epoch_needed and self.acknowledged is not None:
            epoch = new_epoch(self.acknowledged.epoch, unix_seconds)
            barrier = CheckpointBarrier(self.acknowledged._replace(epoch=epoch, sequence=0), self.overlap_window)
            self.entries.extendleft((barrier, Announcement(SENT_AGAIN, self.acknowledged, barrier)))
            self.length += 2
            _renumber(self.entries)


def plan_resend(entries: Iterable[Entry]) -> bool:
    """Whether entries with no report to come must be sent again in a new epoch.

    The numbers stay unless a later record was, or may have been, written to a topic that an earlier one has yet to
    reach: a consumer that keeps the highest number there would drop the earlier one. A gap-less producer writes nothing
    behind a refused or lost record in a partition in which it is introduced.
    """
    missing: set[str] = set()
    lost: set[str] = set()
    is_overtaken = False
    for entry in entries:
        if not isinstance(entry, Batch) or not entry.count:
            continue
        entry.settle_failures()
        topics = entry.counts.keys()
        is_overtaken = is_overtaken or entry.is_overtaken
        if entry.stage is Stage.ACKNOWLEDGED:
            is_overtaken = is_overtaken or not topics.isdisjoint(missing | lost)
        elif entry.stage is Stage.LOST:
            is_overtaken = is_overtaken or not topics.isdisjoint(missing)
            lost |= topics
        else:
            missing |= topics
    return is_overtaken


def _renumber(entries: Iterable[Entry]) -> None:
    """Number everything behind the barrier at the head from 1, and each later epoch above the one before it.

    Nothing behind a later barrier was ever produced, so a higher epoch there gives no number a second meaning.
    """
    epoch = sequence = 0
    for entry in entries:
        if isinstance(entry, CheckpointBarrier) and entry.begins_epoch:
            epoch, sequence = max(entry.epoch, epoch + 1), 0
        if not epoch:  # the announcement before the first barrier follows the old numbers
            continue
        if isinstance(entry, Batch):
            entry.renumber(epoch, sequence)
            sequence = entry.sequence
        else:
            entry.epoch, entry.sequence = epoch, sequence


class _Backwards:
    """The events of entries, newest first. Only as many are taken as the overlap window looks at."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries

    def __iter__(self) -> Iterator[Passed]:
        return iter(list(reversed(self))[::-1])

    def __reversed__(self) -> Iterator[Passed]:
        for entry in reversed(self._entries):
            if isinstance(entry, Batch):
                yield from entry.backwards()


def _extended(known: OverlapWindow, entries: Sequence[Entry]) -> OverlapWindow:
    """The window after these entries: a barrier holds its own."""
    for at in range(len(entries) - 1, -1, -1):
        entry = entries[at]
        if isinstance(entry, CheckpointBarrier):
            return extended(entry.overlap_window, _Backwards(entries[at + 1 :]))
    return extended(known, _Backwards(entries))
