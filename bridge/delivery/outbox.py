"""One session's window of records: numbered here, kept until acknowledged, sent again from memory after a failure.

Two threads meet in it. The session's worker submits: it numbers, remembers and produces. The delivery thread gets the
reports, and when something fails it closes the direct way (``_direct``): the worker then only remembers, and the
delivery thread sends from memory (``pump``) until nothing waits any more and the direct way opens again. Marks (first
position, new epoch, end) take the same road, so there is one order and one place that keeps it. Only ``pump`` opens
the direct way: while the delivery thread replaces the producers, no worker reaches either the old or the new ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from sys import getsizeof

from structlog.stdlib import get_logger

from bridge.clock import monotonic, unix_ms
from bridge.core.checkpoint import Checkpoint
from bridge.core.event import Event
from bridge.core.identity import LONGEST_ID, UNSENDABLE_ID, Position, SessionKey, new_epoch
from bridge.core.lifecycle import Happening
from bridge.core.recent import Recent
from bridge.core.records import Encoder, Record
from bridge.core.watermark import Announcement, Entry, Mark, Skip, Stage, Watermark
from bridge.delivery.position_log import OwnTopics, PositionLog
from bridge.delivery.producers import Producers
from bridge.delivery.rejections import Rejection
from bridge.delivery.room import RECORD_OVERHEAD, Room
from bridge.errors import Stopped
from bridge.kafka.faults import Fault, ProduceError, fault_of, in_full, is_for_age
from bridge.kafka.producer import ProduceFailed, QueueFull

log = get_logger("bridge.delivery")

_BATCH = 64
"""Events taken under the lock at once: enough to share its cost, few enough for the delivery thread to wait little."""
_BATCH_BYTES = 256 * 1024
"""Bytes after which room is asked for again: one turn exceeds the limit by no more than this and one record."""
_FORGOTTEN = 3600.0
"""Seconds without an answer after which a producer may be unknown to Kafka again (producer.id.expiration.ms: a day)."""
_PATIENCE = 0.2
"""Seconds that a batch waits for the direct way. It opens within milliseconds of an attach, and to encode everything
twice, here and from memory, costs more than that; in lasting trouble reading goes on, slower, until the window is
full."""
_RETRY_FIRST, _RETRY_LONGEST = 0.5, 30.0
"""Seconds between two attempts at a topic that does not take records: quick at first, never a flood."""


@dataclass(slots=True)
class Tally:
    """What one session's outbox has done; written by one thread each, read by any."""

    skipped: int = 0
    epochs: int = 0
    rewinds: int = 0


class SessionOutbox:
    """At-least-once delivery of one session; see :class:`bridge.delivery.protocol.Outbox` for the worker's side."""

    def __init__(  # noqa: PLR0913 - the parts one session is made of, given once
        self,
        key: SessionKey,
        encoder: Encoder,
        fingerprint: str,
        restored: Checkpoint | None,
        *,
        topics: OwnTopics,
        producers: Producers,
        room: Room,
        max_in_flight: int,
        call: Callable[[SessionOutbox], None],
        answered: Callable[[SessionOutbox], None],
    ) -> None:
        """``call`` asks for a ``pump``, from any thread; ``answered`` for an ``advance`` after the present poll."""
        self.key = key
        self.tally = Tally()
        self.dead_letters: dict[str, int] = {}
        self.trouble: str | None = None
        """Why records do not get through at present; None when they do."""
        self.positions = PositionLog(key, fingerprint, restored, topics, producers, self._note_answer)
        self._encoder = encoder
        self._producers = producers
        self._room = room
        self._max_in_flight = max_in_flight
        self._call = call
        self._answered = answered
        self._has_answer = False
        position = None if restored is None else restored.position
        self._watermark = Watermark(position, Recent.starting("") if restored is None else restored.recent)
        self._entries = self._watermark.entries
        # Held by the worker for one submit and by the delivery thread for one pump; never while anybody waits.
        self._lock = threading.Lock()
        self._epoch, self._sequence, self._last_event_id = position or Position(0, 0, "")
        self._stopped = threading.Event()
        self._taken = self._freed = 0  # bytes, of the worker and of the delivery thread
        self._direct = False
        self._is_patient = True
        # Topics in which the present producer has had an answer about this session. Kafka takes any first number of a
        # producer it does not know, so behind a first batch that is refused others would get in: a session's first
        # record for a topic goes first and is waited for. From then on there is no gap (see Role.EVENTS).
        self._known: set[str] = set()
        self._introduced: Entry | None = None
        self._answered_at = monotonic()
        self._failed = False
        self._place_failed = False
        self._is_late = False  # Kafka found a record too old for its topic
        self._alone = 0
        self._rejected: dict[Entry, Rejection] = {}
        self._produced = self._reported = 0
        self._retry_at, self._retry_delay = 0.0, _RETRY_FIRST

    # The worker's side

    @property
    def position(self) -> Position:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        return Position(self._epoch, self._sequence, self._last_event_id)

    def submit(self, events: Sequence[Event]) -> None:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        taken = 0
        while taken < len(events):
            if not self._direct and self._is_patient:
                self._is_patient = False  # until the direct way has been open again
                self._room.wait(lambda: self._direct, self._stopped, at_most=_PATIENCE)
            free = self._max_in_flight - len(self._entries)
            if self._stopped.is_set():
                raise Stopped
            if monotonic() - self._answered_at > _FORGOTTEN:
                self.forget_topics()
            if free > 0 and self._room.reserve(_BATCH_BYTES, self._taken - self._freed):
                with self._lock:
                    taken += self._take(islice(events, taken, taken + min(free, _BATCH)))
            else:
                self._call(self)  # what fills the window may be passed already: skipped events wait for nothing
                self._room.wait(self._has_room, self._stopped)

    def _take(self, events: Iterable[Event]) -> int:
        """Number, remember and produce some events, until they hold many bytes; returns how many (the hottest loop)."""
        encode, append, report = self._encoder.encode, self._entries.append, self._report
        epoch, sequence, cursor = self._epoch, self._sequence, self._last_event_id
        produce = self._producers.events.produce
        taken = held = produced = 0
        try:
            for event in events:
                taken += 1
                if event.id is not None:
                    cursor = event.id if len(event.id) <= LONGEST_ID else UNSENDABLE_ID
                record = encode(event, epoch, sequence + 1)
                if record is None:
                    skip = Skip(event if event.name else None, epoch, sequence, cursor)
                    append(skip)
                    held += skip.size
                    self.tally.skipped += event.name != ""
                    continue
                sequence += 1
                topic, key, value, headers, timestamp_ms, dead_letter = record
                size = len(value) + getsizeof(event.data) + RECORD_OVERHEAD
                held += size
                entry = Entry(event, epoch, sequence, cursor, Stage.WAITING, topic, size)
                append(entry)
                if dead_letter is not None:
                    self._count_dead_letter(dead_letter)
                if topic not in self._known:
                    self._direct = False
                    self._call(self)
                if self._direct:
                    entry.stage = Stage.IN_FLIGHT
                    produced += 1
                    try:
                        produce(topic, value, key, headers, timestamp_ms, partial(report, entry))
                    except (QueueFull, ProduceFailed) as failure:
                        self._not_produced(entry, failure)
                if held >= _BATCH_BYTES:
                    break
        finally:  # whatever happens, what was remembered is counted
            self._sequence, self._last_event_id = sequence, cursor
            self._produced += produced
            self._room.settle(_BATCH_BYTES, held)
            self._taken += held
        return taken

    @property
    def recent(self) -> Recent:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        return self._watermark.submitted

    def begin_epoch(self, recent: Recent, why: Happening | None = None) -> None:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        with self._lock:
            before = self.position
            self._epoch, self._sequence = new_epoch(self._epoch or None, unix_ms() // 1000), 0
            self._last_event_id = recent.cursor
            mark = Mark(self.position, recent)
            if why is not None:
                self._entries.append(Announcement(why, before, mark))
            self._append_barrier(mark)
            self.tally.epochs += 1

    def announce(self, what: Happening) -> None:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        with self._lock:
            self._append_barrier(Announcement(what, self.position))

    def doubt(self) -> None:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        with self._lock:
            self._append_barrier(Mark(self.position, self.recent._replace(certain=False)))

    def end(self, why: Happening) -> None:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        with self._lock:
            if self._epoch:
                self._entries.append(Announcement(why, self.position))
                self._append_barrier(Mark(self.position, self.recent, "ended"))

    def stop(self) -> None:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        self._stopped.set()  # the delivery thread wakes whoever waits at its next turn

    def _has_room(self) -> bool:
        # Half empty before it goes on: a worker woken for each single record would spend its time waking.
        return len(self._entries) <= self._max_in_flight // 2 and self._room.has_room(self._taken - self._freed)

    def _append_barrier(self, entry: Entry) -> None:
        self._entries.append(entry)
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
    def awaits_position(self) -> bool:
        """The oldest entry is a position or an announcement: what is behind it waits for Kafka to have it."""
        entries = self._entries
        return bool(entries) and entries[0].is_barrier

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
        return self._watermark.is_empty and self.positions.has(self._watermark.committable)

    @property
    def published(self) -> int:
        """Events in Kafka, dead letters aside."""
        passed = self._watermark.passed
        return sum(count for topic, count in tuple(passed.items()) if topic != self._encoder.dead_letters_topic)

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
        if not self._has_answer:
            self._note_answer()

    def _note_answer(self) -> None:
        self._has_answer = True
        self._answered(self)

    def advance(self) -> None:
        """Pass what is acknowledged at the head and free its bytes: once for all reports of one poll."""
        self._has_answer = False
        self._answered_at = monotonic()
        before = self._watermark.committable
        freed = self._watermark.advance()
        if freed:
            self._room.free(freed)
            self._freed += freed
        if self.trouble is not None and not self._failed and self._watermark.committable != before:
            self.trouble = None
            self._retry_delay = _RETRY_FIRST

    def _fail(self, entry: Entry, error: ProduceError) -> None:
        self._direct = False
        self.trouble = in_full(entry.topic or self.positions.topic_of(entry), error)
        self._is_late = self._is_late or is_for_age(error)
        fault = fault_of(error)
        if fault is Fault.FATAL:
            self._wind_back(entry, Stage.LOST)
        elif fault is Fault.RECORD and isinstance(entry, Announcement):
            # It would be refused for ever, and hold everything behind it.
            log.error(
                "Kafka refuses a lifecycle record: this is not announced", session=str(self.key), error=self.trouble,
                kind=entry.happening.kind, detail=entry.happening.detail, setting="topics.lifecycle",
            )  # fmt: skip
            entry.stage = Stage.ACKNOWLEDGED
        elif not entry.is_numbered or fault is Fault.PLACE:
            self._wind_back(entry, Stage.FAILED)
            self._place_failed = True
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
            self._place_failed = True
            return
        if known is None:
            self._count_dead_letter("rejected")
        self._rejected[entry] = rejection
        entry.stage = Stage.WAITING

    def forget_topics(self) -> None:
        """Kafka forgets producers that are idle for a day: introduce this one anew."""
        with self._lock:
            if not self._entries:
                self._known.clear()

    def hold(self) -> None:
        """Close the direct way: when this returns, no worker produces or will before the next ``pump``."""
        with self._lock:
            self._direct = False

    def lose_producers(self) -> None:
        """The producers were replaced: what they had in flight will never be reported, and goes again from memory."""
        with self._lock:
            for entry in self._entries:
                if entry.stage is Stage.IN_FLIGHT:
                    self._wind_back(entry, Stage.LOST)
            self._reported = self._produced
            self._known.clear()
            self._introduced = None
            self.positions.lose_producers()
            self._call(self)

    def pump(self) -> bool:
        """Send what waits in memory, as far as order allows now; True when the direct way is open again."""
        with self._lock:
            if self._failed and not self._rewound():
                return False
            if monotonic() < self._retry_at:
                return False
            self.advance()
            self._note_introduction()
            self._direct = self._send_waiting() and not self._failed
            if self._direct:
                self._alone = 0  # whoever was suspected has gone through
                self._is_patient = True
                self._is_late = False
            return self._direct

    def _note_introduction(self) -> None:
        one = self._introduced
        if one is not None and one.stage is Stage.ACKNOWLEDGED:
            self._known.add(one.topic)
            self._introduced = None

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
        if self._place_failed:  # it wants time, and a trial first: a failure there ends nobody's producer
            self._place_failed = False
            self._alone = max(self._alone, 1)
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
            barrier = entry.is_barrier or (entry.is_numbered and (self._alone > 0 or entry.topic not in self._known))
            if barrier and (index or entry.stage is Stage.IN_FLIGHT):
                return False  # it goes when it is the oldest, and nothing passes it
            if entry.stage is Stage.WAITING and (not self._sent(entry) or barrier):
                return False  # what the client itself does not take leaves no gap: nothing may get behind it
        return True

    def _sent(self, entry: Entry) -> bool:
        entry.stage = Stage.IN_FLIGHT
        self._produced += 1
        try:
            if isinstance(entry, Mark):
                self.positions.write_mark(entry, partial(self._report, entry))
            elif isinstance(entry, Announcement):
                self.positions.announce(entry, partial(self._report, entry))
            else:
                self._send_record(entry)
        except (QueueFull, ProduceFailed) as failure:
            self._not_produced(entry, failure)
            return False
        return True

    def _send_record(self, entry: Entry) -> None:
        record = self._encode_again(entry)
        entry.topic = record.topic
        if self._alone:
            producer = self._producers.trial
        else:
            producer = self._producers.events
            self._introduced = entry if entry.topic not in self._known else None
        # Neither a clock that was ahead when the event came nor a long wait may make Kafka refuse it for ever.
        now = unix_ms()
        timestamp_ms = now if self._is_late else min(record.timestamp_ms, now)
        producer.produce(
            record.topic, record.value, record.key, record.headers, timestamp_ms, partial(self._report, entry)
        )

    def _encode_again(self, entry: Entry) -> Record:
        """The record of an entry under the number it has now; a dead letter when Kafka has refused it alone."""
        event, rejection = entry.event, self._rejected.get(entry)
        if event is None:
            raise AssertionError(f"{self.key}: a skipped event waits to be sent")
        if rejection is not None:
            return rejection.dead_letter(self._encoder, event, entry)
        record = self._encoder.encode(event, entry.epoch, entry.sequence)
        if record is None:
            raise AssertionError(f"{self.key}: an event that was numbered is skipped when encoded again")
        return record

    def write_checkpoint(self) -> None:
        """Write the committable position if it moved since it was last written (the delivery thread's timer)."""
        self.advance()
        position = self._watermark.committable
        # A mark at the head may be on its way already: an older position must not be written behind it.
        if position is not None and not self.awaits_position:
            self.positions.write(position, self._watermark.recent)
