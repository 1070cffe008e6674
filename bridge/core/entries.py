"""The entries of a session in the order of submission: batches of events, checkpoints with a barrier, announcements.

A batch holds the events of one read of a stream. A checkpoint may cover an entry only after Kafka has acknowledged it.

Thread rule: one thread submits; one other thread runs the delivery reports and renumbers. Entries are added, split and
renumbered under the session's lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from typing import ClassVar, Literal, NamedTuple, Protocol

from bridge.core.identity import Position
from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.records.record import Encoded, Record, counts_of, cursor_after
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow


class Stage(Enum):
    """The state of an entry; :func:`bridge.core.in_flight.plan_resend` says what follows from it after a failure."""

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


class Listener(Protocol):
    """Receives an entry's delivery reports, in the thread that polls."""

    def acknowledged(self, entry: Entry, /) -> None:
        """All records of the entry are in Kafka."""

    def failed(self, entry: Entry, error: object, message: Message, /) -> Stage:
        """One record of the entry failed; returns the stage that follows from the error."""


class Entry:
    """One place in the order of a session. A checkpoint may cover it only after Kafka has acknowledged it."""

    __slots__ = ("epoch", "last_event_id", "listener", "produced", "reported", "sequence", "size", "stage")
    is_barrier: ClassVar[bool] = False
    """At least once: produced when it is the oldest; nothing behind it is produced before it is acknowledged."""
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
        """Some of it is not in Kafka, or may not be. The worst stage counts."""
        if stage is Stage.ACKNOWLEDGED or _WORSE.get(stage, 0) > _WORSE.get(self.stage, -1):
            self.stage = stage

    def lose(self) -> None:
        """No more reports will come."""
        if self.is_unreported:
            self.produced = self.reported
            self.worsen(Stage.LOST)


class Passed(NamedTuple):
    """One event, and the stream's last event id after it (:class:`bridge.core.stream.overlap.Numbered`)."""

    event: Event | None
    last_event_id: str


class Batch(Entry):
    """The events of one read: published ones, which have a record and a number each, and skipped ones.

    Its one bound method :meth:`report` is the delivery callback of every record, so each record is proved and no object
    is made for one.
    """

    __slots__ = ("_failures", "counts", "events", "is_overtaken", "places", "records", "refusal", "start")

    def __init__(self, events: Sequence[Event], encoded: Encoded, start: Position) -> None:
        """``start``: the position before it."""
        number = start.sequence + len(encoded.records)
        super().__init__(Position(start.epoch, number, encoded.last_event_id), encoded.size)
        self.events = events
        self.start = start
        self.records: Sequence[Record] | None = encoded.records
        """None once they were all produced: the client has them, and they are encoded again to be sent again."""
        self.places = encoded.places
        self.counts = encoded.counts
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
            # Reports of one partition come in order, so this record follows one that failed.
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

    At least once: it is produced when everything before it is acknowledged, and nothing behind it is produced before it
    is acknowledged. A crash before its acknowledgement finds the old epoch complete and nothing of the new one; a crash
    after it finds the new epoch checkpointed. Exactly once: it has no record of its own; the
    checkpoint that the session writes into the same transaction covers it.
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
    """A lifecycle record. It is a barrier.

    At least once: everything up to its number is in Kafka before it. Exactly once: both are in the same transaction.
    """

    __slots__ = ("checkpoint", "lifecycle_event")
    is_barrier = True

    def __init__(
        self, lifecycle_event: LifecycleEvent, position: Position, checkpoint: CheckpointBarrier | None = None
    ) -> None:
        """``checkpoint``: the checkpoint of the new epoch, which follows immediately."""
        super().__init__(position)
        self.lifecycle_event = lifecycle_event
        self.checkpoint = checkpoint

    @property
    def new_epoch(self) -> int | None:
        """The epoch that begins here. It is final only when the record is produced: a failure before may raise it."""
        return None if self.checkpoint is None or self.checkpoint.epoch == self.epoch else self.checkpoint.epoch
