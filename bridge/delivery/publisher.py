"""The worker's side of one session's delivery: it numbers what the session submits, remembers it, and hands it over.

Two threads meet in a session's :class:`~bridge.delivery.in_flight.Window`. The worker numbers, remembers and produces.
Delivery gets the reports, and when something fails it closes the direct way: the worker then only remembers, and
delivery sends from memory until nothing waits any more and the direct way opens again. Marks (first position, new
epoch, end) take the same road, so there is one order and one place that keeps it. What delivery is made of, and what
its guarantee is, is behind :class:`~bridge.delivery.sender.Way`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice
from sys import getsizeof

from bridge.clock import unix_ms
from bridge.core.identity import LONGEST_ID, UNSENDABLE_ID, Position, SessionKey, new_epoch
from bridge.core.in_flight import Announcement, CheckpointBarrier, Entry, Skip, Stage
from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow
from bridge.delivery.budget import RECORD_OVERHEAD
from bridge.delivery.checkpoint_writer import CheckpointWriter
from bridge.delivery.in_flight import DeliveryCounters, Window
from bridge.delivery.sender import Sender
from bridge.errors import Stopped
from bridge.kafka.producer import ProduceFailed, QueueFull

_BATCH = 64
"""Events taken under the lock at once: enough to share its cost, few enough for the delivery thread to wait little."""
_BATCH_BYTES = 256 * 1024
"""Bytes after which room is asked for again: one turn exceeds the limit by no more than this and one record."""
_PATIENCE = 1.0
"""Seconds that a batch waits for the direct way. It opens within milliseconds of an attach, and as a rule within 0.4 s
of a transaction's end: what goes through memory instead costs more, and keeps the next one shut for longer. Once it
was waited for in vain, reading goes on into memory until it has been open again."""


class SessionPublisher:
    """See :class:`bridge.delivery.protocol.Outbox`.

    Thread rule: the worker's, but for ``stop``, ``revoke`` and what only tells.
    """

    def __init__(self, window: Window, sender: Sender, max_in_flight: int) -> None:
        self._window = window
        self._way = sender
        self._max_in_flight = max_in_flight
        self._is_patient = True

    # The worker's side

    @property
    def position(self) -> Position:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        return self._window.position

    def submit(self, events: Sequence[Event]) -> None:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        window, sender = self._window, self._way
        taken = 0
        while taken < len(events):
            if self._is_patient and not sender.is_direct:
                sender.call()
                window.budget.wait(lambda: sender.is_direct, window.stopped, at_most=_PATIENCE)
            self._is_patient = sender.is_direct  # waited in vain: not again until it has been open
            free = self._max_in_flight - len(window.entries)
            if window.stopped.is_set():
                raise Stopped
            sender.awaken()
            if not window.may_hand_over:
                sender.close()
            if free > 0 and window.budget.reserve(_BATCH_BYTES, window.taken - window.freed):
                with window.lock:
                    taken += self._take(islice(events, taken, taken + min(free, _BATCH)))
                if not sender.is_direct:
                    sender.call()  # what waits now must not wait for the next batch
            else:
                sender.call()  # what fills the window may be passed already: skipped events wait for nothing
                window.budget.wait(self._has_budget, window.stopped)

    def _take(self, events: Iterable[Event]) -> int:
        """Number, remember and produce some events, until they hold many bytes; returns how many (the hottest loop)."""
        window, sender = self._window, self._way
        encode, append, report = window.encoder.encode, window.entries.append, sender.report
        epoch, sequence, cursor = window.epoch, window.sequence, window.last_event_id
        produce, known = sender.produce, sender.known
        taken = held = produced = 0
        try:
            if window.is_over:
                raise Stopped
            for event in events:
                taken += 1
                if event.id is not None:
                    cursor = event.id if len(event.id) <= LONGEST_ID else UNSENDABLE_ID
                record = encode(event, epoch, sequence + 1)
                if record is None:
                    skip = Skip(event if event.name else None, epoch, sequence, cursor)
                    append(skip)
                    held += skip.size
                    window.counters.skipped += event.name != ""
                    continue
                sequence += 1
                topic, key, value, headers, timestamp_ms, dead_letter = record
                size = len(value) + getsizeof(event.data) + RECORD_OVERHEAD
                held += size
                entry = Entry(event, epoch, sequence, cursor, Stage.WAITING, topic, size)
                append(entry)
                if dead_letter is not None:
                    window.count_dead_letter(dead_letter)
                if topic not in known:
                    sender.meet(topic)
                if sender.is_direct:
                    entry.stage = Stage.IN_FLIGHT
                    produced += 1
                    try:
                        produce(topic, value, key, headers, timestamp_ms, partial(report, entry))
                    except (QueueFull, ProduceFailed) as failure:
                        sender.not_produced(entry, failure)
                else:
                    sender.keep(entry, record)
                if held >= _BATCH_BYTES:
                    break
        finally:  # whatever happens, what was remembered is counted
            window.sequence, window.last_event_id = sequence, cursor
            sender.produced += produced
            window.budget.settle(_BATCH_BYTES, held)
            window.taken += held
        return taken

    @property
    def overlap_window(self) -> OverlapWindow:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        return self._window.watermark.submitted

    def begin_epoch(self, overlap_window: OverlapWindow, why: LifecycleEvent | None = None) -> None:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        window = self._window
        with window.lock:
            before = self.position
            window.epoch, window.sequence = new_epoch(window.epoch or None, unix_ms() // 1000), 0
            window.last_event_id = overlap_window.cursor
            mark = CheckpointBarrier(self.position, overlap_window)
            if why is None:
                self._add(mark)
            else:
                self._add(Announcement(why, before, mark), mark)
            window.counters.epochs += 1

    def announce(self, what: LifecycleEvent) -> None:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        with self._window.lock:
            self._add(Announcement(what, self.position))

    def doubt(self) -> None:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        with self._window.lock:
            self._add(CheckpointBarrier(self.position, self.overlap_window._replace(certain=False)))

    def end(self, why: LifecycleEvent) -> None:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        with self._window.lock:
            if self._window.epoch:
                self._add(
                    Announcement(why, self.position), CheckpointBarrier(self.position, self.overlap_window, "ended")
                )

    def stop(self) -> None:
        """See :class:`~bridge.delivery.protocol.Outbox`."""
        self._window.stopped.set()  # the delivery thread wakes whoever waits at its next turn

    def revoke(self) -> None:
        """When this returns nothing more of it is handed to any producer; its memory is free soon (any thread)."""
        self._window.stopped.set()
        with self._window.lock:
            self._window.is_revoked = True
            self._way.is_direct = False
        self._way.call()

    def _has_budget(self) -> bool:
        # Half empty before it goes on: a worker woken for each single record would spend its time waking.
        window = self._window
        return len(window.entries) <= self._max_in_flight // 2 and window.budget.has_budget(window.taken - window.freed)

    def _add(self, *entries: Entry) -> None:
        if not self._window.is_revoked:
            self._window.entries.extend(entries)
            self._way.close()

    # What is told

    @property
    def key(self) -> SessionKey:
        """Whose it is."""
        return self._window.key

    @property
    def is_out(self) -> bool:
        """Whether no transaction holds anything of it any more, once it is revoked."""
        return self._way.is_out

    @property
    def must_restart(self) -> str | None:
        """Why the session is to be started again from what stands in Kafka, which this memory does not know."""
        return self._window.must_restart

    @property
    def counters(self) -> DeliveryCounters:
        """What it has done."""
        return self._window.counters

    @property
    def dead_letters(self) -> dict[str, int]:
        """Records that went to the dead letters, by reason."""
        return self._window.dead_letters

    @property
    def trouble(self) -> str | None:
        """Why records do not get through at present; None when they do."""
        return self._window.trouble

    @property
    def positions(self) -> CheckpointWriter:
        """Which positions Kafka has."""
        return self._way.positions

    @property
    def in_flight(self) -> int:
        """Entries that are not yet acknowledged, or stand behind one that is not."""
        return len(self._window.entries)

    @property
    def acknowledged(self) -> Position | None:
        """Everything up to here is in Kafka."""
        return self._window.watermark.committable

    @property
    def is_settled(self) -> bool:
        """Everything submitted is acknowledged, and a checkpoint that says so too; or nothing of it may go any more."""
        watermark = self._window.watermark
        return self._window.is_revoked or (watermark.is_empty and self.positions.has(watermark.committable))

    @property
    def published(self) -> int:
        """Events in Kafka, dead letters aside."""
        passed = self._window.watermark.passed
        return sum(count for topic, count in tuple(passed.items()) if topic != self._window.encoder.dead_letters_topic)
