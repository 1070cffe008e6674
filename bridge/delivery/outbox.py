"""One session's window of records: numbered here, kept until acknowledged, sent again from memory after a failure.

Two threads meet in it. The session's worker submits: it numbers, remembers and produces. The delivery thread gets the
reports, and when something fails it closes the direct way (``_direct``): the worker then only remembers, and the delivery
thread sends from memory (``pump``) until nothing waits any more and the direct way opens again. Marks (first position, new
epoch, end) take the same road, so there is one order and one place that keeps it. Only ``pump`` opens the direct way: while
the delivery thread replaces the producers, no worker reaches either the old or the new ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Literal, NamedTuple

from structlog.stdlib import get_logger

from bridge.clock import monotonic, unix_ms
from bridge.core.checkpoint import Checkpoint, encode
from bridge.core.dead_letters import MARKER_BYTES, prefix
from bridge.core.event import Event
from bridge.core.identity import Position, SessionKey, new_epoch, partition_of
from bridge.core.records import Encoder, Record
from bridge.core.watermark import Entry, Mark, Skip, Stage, Watermark
from bridge.delivery.room import RECORD_OVERHEAD, Room
from bridge.errors import Stopped
from bridge.kafka.faults import Fault, ProduceError, fault_of, in_words, is_for_size
from bridge.kafka.producer import IdempotentProducer, ProduceFailed, QueueFull

log = get_logger("bridge.delivery")

State = Literal["active", "ended"]
Report = Callable[[ProduceError | None, object], None]

_BATCH = 64
"""Events taken under the lock at once: enough to share its cost, few enough that the delivery thread never waits long."""
_BATCH_BYTES = 256 * 1024
"""Bytes after which room is asked for again: one turn exceeds the limit by no more than this and one record."""
_RETRY_FIRST, _RETRY_LONGEST = 0.5, 30.0
"""Seconds between two attempts at a topic that does not take records: quick at first, never a flood."""


@dataclass(frozen=True, slots=True)
class CheckpointTopic:
    """Where positions are written."""

    name: str
    partitions: int


@dataclass(slots=True)
class Producers:
    """The producers all outboxes share; replaced after a fatal error, by the delivery thread."""

    main: IdempotentProducer
    make_lone: Callable[[], IdempotentProducer]
    lone: IdempotentProducer | None = None
    answered: bool = False
    """Kafka has acknowledged something since this was last looked at (the delivery thread's)."""

    def alone(self) -> IdempotentProducer:
        """The producer whose batches hold one record: made when it is first needed, which is hardly ever."""
        if self.lone is None:
            self.lone = self.make_lone()
        return self.lone


@dataclass(slots=True)
class Tally:
    """What one session's outbox has done; written by one thread each, read by any."""

    published: int = 0
    skipped: int = 0
    epochs: int = 0
    rewinds: int = 0
    checkpoints: int = 0


class Rejection(NamedTuple):
    """A record that Kafka refused though it was alone in its batch: it goes to the dead letters."""

    error: str
    kept: int | None
    """This many bytes of its data at most: it was refused for its size. None: all of them."""

    @classmethod
    def of(cls, error: ProduceError) -> Rejection:
        """The first refusal."""
        return cls(in_words(error), MARKER_BYTES if is_for_size(error) else None)

    def again(self, error: ProduceError) -> Rejection | None:
        """The dead letter was refused as well: a smaller one, or None when its size is not what is wrong with it."""
        if self.kept == 0 or not is_for_size(error):
            return None
        return self._replace(kept=MARKER_BYTES if self.kept is None else self.kept // 16)


class SessionOutbox:
    """At-least-once delivery of one session; see :class:`bridge.delivery.protocol.Outbox` for the worker's side."""

    def __init__(  # noqa: PLR0913 - the parts one session is made of, given once
        self,
        key: SessionKey,
        encoder: Encoder,
        fingerprint: str,
        restored: Position | None,
        *,
        checkpoints: CheckpointTopic,
        producers: Producers,
        room: Room,
        max_in_flight: int,
        call: Callable[[SessionOutbox], None],
    ) -> None:
        self.key = key
        self.tally = Tally()
        self.dead_letters: dict[str, int] = {}
        self.trouble: str | None = None
        """Why records do not get through at present; None when they do."""
        self.written = restored
        """The position in the newest checkpoint that Kafka has acknowledged."""
        self._encoder = encoder
        self._fingerprint = fingerprint
        self._not_events = frozenset({"", encoder.dead_letters_topic})  # a mark has no topic
        self._record_key = key.record_key
        self._checkpoints = checkpoints
        self._partition = partition_of(self._record_key, checkpoints.partitions)
        self._producers = producers
        self._room = room
        self._max_in_flight = max_in_flight
        self._call = call
        self._watermark = Watermark(restored)
        self._entries = self._watermark.entries
        # Held by the worker for one submit and by the delivery thread for one pump; never while anybody waits.
        self._lock = threading.Lock()
        self._epoch, self._sequence, self._last_event_id = restored or Position(0, 0, "")
        self._stopped = threading.Event()
        self._direct = False
        self._failed = False
        self._alone = 0
        self._rejected: dict[Entry, Rejection] = {}
        self._produced = self._reported = 0
        self._retry_at, self._retry_delay = 0.0, _RETRY_FIRST
        self._writing: Position | None = restored
        self._written_state: State = "active"

    # The worker's side

    @property
    def position(self) -> Position:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        return Position(self._epoch, self._sequence, self._last_event_id)

    def submit(self, events: Sequence[Event]) -> None:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        taken = 0
        while taken < len(events):
            free = self._max_in_flight - len(self._entries)
            if free <= 0 or self._room.held >= self._room.limit:
                self._call(self)  # what fills the window may be passed already: skipped events wait for nothing
                self._room.wait(self._has_room, self._stopped)
                free = self._max_in_flight - len(self._entries)
            if self._stopped.is_set():
                raise Stopped
            with self._lock:
                taken += self._take(islice(events, taken, taken + max(1, min(free, _BATCH))))

    def _take(self, events: Iterable[Event]) -> int:
        """Number, remember and produce some events, until they hold many bytes; returns how many (the hottest loop)."""
        encode, append, report = self._encoder.encode, self._entries.append, self._report
        epoch, sequence, cursor = self._epoch, self._sequence, self._last_event_id
        tally, produce = self.tally, self._producers.main.produce
        taken = held = 0
        try:
            for event in events:
                taken += 1
                if event.id is not None:
                    cursor = event.id
                record = encode(event, epoch, sequence + 1)
                if record is None:
                    append(Skip(epoch, sequence, cursor))
                    tally.skipped += event.name != ""
                    continue
                sequence += 1
                topic, key, value, headers, timestamp_ms, dead_letter = record
                size = len(value) + RECORD_OVERHEAD
                held += size
                entry = Entry(event, epoch, sequence, cursor, Stage.WAITING, topic, size)
                append(entry)
                if dead_letter is not None:
                    self._count_dead_letter(dead_letter)
                if self._direct:
                    entry.stage = Stage.IN_FLIGHT
                    self._produced += 1
                    try:
                        produce(topic, value, key, headers, timestamp_ms, partial(report, entry))
                    except (QueueFull, ProduceFailed) as failure:
                        self._not_produced(entry, failure)
                if held >= _BATCH_BYTES:
                    break
        finally:  # whatever happens, what was remembered is counted
            self._sequence, self._last_event_id = sequence, cursor
            self._room.take(held)
        return taken

    def begin_epoch(self, last_event_id: str) -> None:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        with self._lock:
            self._epoch, self._sequence = new_epoch(self._epoch or None, unix_ms() // 1000), 0
            self._last_event_id = last_event_id
            self._append_mark(Mark(self.position))
            self.tally.epochs += 1

    def end(self) -> None:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        with self._lock:
            if self._epoch:
                self._append_mark(Mark(self.position, "ended"))

    def stop(self) -> None:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        self._stopped.set()
        self._room.wake(everybody=True)

    def _has_room(self) -> bool:
        # Half empty before it goes on: a worker woken for each single record would spend its time waking.
        return len(self._entries) <= self._max_in_flight // 2 and self._room.held < self._room.limit

    def _append_mark(self, mark: Mark) -> None:
        self._entries.append(mark)
        self._direct = False
        self._call(self)

    # Both sides, under the lock

    def _not_produced(self, entry: Entry, failure: QueueFull | ProduceFailed) -> None:
        """No report will come of this one: it waits, or its error is what a report would have said."""
        self._produced -= 1
        if isinstance(failure, ProduceFailed):
            self._fail(entry, failure.error)
        else:
            entry.stage = Stage.WAITING
            self._direct = False
            self._call(self)

    def _count_dead_letter(self, reason: str) -> None:
        self.dead_letters[reason] = self.dead_letters.get(reason, 0) + 1

    # The delivery thread's side

    @property
    def is_searching(self) -> bool:
        """Records go one at a time, to find those that Kafka refuses."""
        return self._alone > 0

    @property
    def in_flight(self) -> int:
        """Entries that are not yet acknowledged, or stand behind one that is not."""
        return len(self._entries)

    @property
    def acknowledged(self) -> Position | None:
        """Everything up to here is in Kafka."""
        return self._watermark.committable

    @property
    def is_settled(self) -> bool:
        """Everything submitted is acknowledged, and a checkpoint that says so too."""
        return not self._entries and self.written == self._watermark.committable

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint that Kafka has acknowledged."""
        return self._checkpoint(self.written, self._written_state) if self.written is not None else None

    def _checkpoint(self, position: Position, state: State) -> Checkpoint:
        return Checkpoint(self.key, position, state, unix_ms(), self._fingerprint)

    def _report(self, entry: Entry, error: ProduceError | None, _message: object) -> None:
        """One delivery report: records and returns (the hottest line of the delivery thread)."""
        self._reported += 1
        if error is not None:
            self._fail(entry, error)
            return
        entry.stage = Stage.ACKNOWLEDGED
        if self._alone and entry.is_numbered:
            self._alone -= 1
            self._rejected.pop(entry, None)
        if entry.topic not in self._not_events:
            self.tally.published += 1
        if self._entries[0].stage is Stage.ACKNOWLEDGED:  # often not this one: a skipped event may stand before it
            self._producers.answered = True
            self.advance()
            if self.trouble is not None and not self._failed:
                self.trouble = None
                self._retry_delay = _RETRY_FIRST

    def advance(self) -> None:
        """Pass what is acknowledged at the head and free its bytes."""
        freed = self._watermark.advance()
        if freed:
            self._room.free(freed)

    def _fail(self, entry: Entry, error: ProduceError) -> None:
        self._direct = False
        self.trouble = in_words(error)
        fault = fault_of(error)
        if fault is Fault.FATAL:
            self._wind_back(entry, Stage.LOST)
        elif not entry.is_numbered or fault is Fault.PLACE:
            self._wind_back(entry, Stage.FAILED)
        elif self._alone and self._entries[0] is entry:
            self._reject(entry, error)
        else:
            self._wind_back(entry, Stage.REFUSED)
        self._call(self)

    def _wind_back(self, entry: Entry, stage: Stage) -> None:
        entry.stage = stage
        self._failed = True

    def _reject(self, entry: Entry, error: ProduceError) -> None:
        """Refused in a batch of its own: it is the culprit, and next goes to the dead letters."""
        known = self._rejected.get(entry)
        rejection = Rejection.of(error) if known is None else known.again(error)
        if rejection is None:
            self._wind_back(entry, Stage.FAILED)
            return
        if known is None:
            self._count_dead_letter("rejected")
        self._rejected[entry] = rejection
        entry.stage = Stage.WAITING

    def hold(self) -> None:
        """Close the direct way: when this returns, no worker is about to produce or will be before the next ``pump``."""
        with self._lock:
            self._direct = False

    def lose_producers(self) -> None:
        """The producers were replaced: what they had in flight will never be reported, and goes again from memory."""
        with self._lock:
            for entry in self._entries:
                if entry.stage is Stage.IN_FLIGHT:
                    self._wind_back(entry, Stage.LOST)
            self._reported = self._produced
            self._writing = self.written
            self._call(self)

    def pump(self) -> bool:
        """Send what waits in memory, as far as order allows now; True when the direct way is open again."""
        with self._lock:
            if self._failed and not self._rewound():
                return False
            if monotonic() < self._retry_at:
                return False
            self.advance()
            self._direct = self._send_waiting() and not self._failed
            return self._direct

    def _rewound(self) -> bool:
        if self._produced != self._reported:
            return False  # some report is still to come, and it may change what is to be done
        self.advance()
        plan = self._watermark.rewind(unix_ms() // 1000)
        self._failed = False
        self._alone = max(self._alone, plan.alone)  # suspects stay suspects whatever else happens to them
        self.tally.rewinds += 1
        if plan.new_epoch:
            last = self._entries[-1]
            self._epoch, self._sequence = last.epoch, last.sequence
            self.tally.epochs += 1
        if not plan.alone:  # no record is at fault: the place is, and wants time
            self._retry_at = monotonic() + self._retry_delay
            self._retry_delay = min(2 * self._retry_delay, _RETRY_LONGEST)
        log.warning(
            "Kafka did not take records: sending again from memory",
            session=str(self.key), error=self.trouble, records=len(self._entries), new_epoch=plan.new_epoch,
        )  # fmt: skip
        return True

    def _send_waiting(self) -> bool:
        """Produce every waiting entry whose turn it is; True when none is left."""
        for index, entry in enumerate(self._entries):
            barrier = entry.is_mark or (self._alone > 0 and entry.is_numbered)
            if barrier and (index or entry.stage is Stage.IN_FLIGHT):
                return False  # it goes when it is the oldest, and nothing passes it
            if entry.stage is Stage.WAITING:
                self._send(entry)
                if barrier or entry.stage is Stage.WAITING:
                    return False
        return True

    def _send(self, entry: Entry) -> None:
        entry.stage = Stage.IN_FLIGHT
        self._produced += 1
        try:
            if isinstance(entry, Mark):
                self._write(entry.position, entry.state, partial(self._report_mark, entry))
            else:
                self._send_record(entry)
        except (QueueFull, ProduceFailed) as failure:
            self._not_produced(entry, failure)

    def _send_record(self, entry: Entry) -> None:
        record = self._encode_again(entry)
        entry.topic = record.topic
        producer = self._producers.alone() if self._alone else self._producers.main
        producer.produce(
            record.topic, record.value, record.key, record.headers, record.timestamp_ms, partial(self._report, entry)
        )

    def _encode_again(self, entry: Entry) -> Record:
        """The record of an entry under the number it has now; a dead letter when Kafka has refused it alone."""
        event, rejection = entry.event, self._rejected.get(entry)
        if event is None:
            raise AssertionError(f"{self.key}: a skipped event waits to be sent")
        if rejection is not None:
            error, kept = rejection
            letter = self._encoder.rejected(event, entry.epoch, entry.sequence, error, cut=kept is not None)
            return letter if kept is None else letter._replace(value=prefix(letter.value, kept))
        record = self._encoder.encode(event, entry.epoch, entry.sequence)
        if record is None:
            raise AssertionError(f"{self.key}: an event that was numbered is skipped when encoded again")
        return record

    # Checkpoints

    def write_checkpoint(self) -> None:
        """Write the committable position if it moved since it was last written (the delivery thread's timer)."""
        self.advance()
        position = self._watermark.committable
        if position is None or position in (self.written, self._writing):
            return
        if self._entries and self._entries[0].is_mark:
            return  # the mark may be on its way already: an older position must not be written behind it
        try:
            self._write(position, "active", partial(self._report_checkpoint, position))
            self._writing = position
        except (QueueFull, ProduceFailed):
            self._writing = self.written  # the next turn of the timer tries again

    def _write(self, position: Position, state: State, report: Report) -> None:
        checkpoint = self._checkpoint(position, state)
        self._producers.main.produce(
            self._checkpoints.name,
            encode(checkpoint),
            self._record_key,
            [],
            checkpoint.updated_ms,
            report,
            self._partition,
        )

    def _report_checkpoint(self, position: Position, error: ProduceError | None, _message: object) -> None:
        if error is None:
            self._is_written(position, "active")
            return
        self._writing = self.written
        log.warning("Kafka did not take a checkpoint: writing it again", session=str(self.key), error=in_words(error))

    def _report_mark(self, mark: Mark, error: ProduceError | None, message: object) -> None:
        if error is None:
            self._is_written(mark.position, mark.state)
            self._writing = mark.position
        self._report(mark, error, message)

    def _is_written(self, position: Position, state: State) -> None:
        self.written, self._written_state = position, state
        self._producers.answered = True
        self.tally.checkpoints += 1
