"""The worker's side of one session's delivery: it numbers what the session submits, remembers it, and hands it over.

A batch is encoded outside of every lock, then numbered, remembered and produced under the session's lock. When
something fails the fast path closes: the worker then only remembers, and delivery sends from memory until nothing waits
and the fast path opens again. Barriers (first position, new epoch, end) take the same queue, so there is one order.
The guarantee is behind :class:`Sender`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from bridge.clock import unix_ms
from bridge.core.entries import Announcement, Batch, CheckpointBarrier, Entry
from bridge.core.identity import Position, new_epoch
from bridge.core.records.encoder import Encoder
from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.records.record import Encoded
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow
from bridge.delivery.budget import UnfinishedBlock
from bridge.delivery.checkpoint_writer import CheckpointWriter
from bridge.delivery.handover import Handover
from bridge.delivery.session import Session
from bridge.errors import Stopped

_BATCH_EVENTS = 512
"""Most events of a batch: usually a batch holds the events of one read."""
_BATCH_BYTES = 256 * 1024
"""Bytes after which a batch ends, so that it fits into any memory budget, and one request with its last event."""
_FAST_PATH_WAIT = 1.0
"""Seconds that a batch waits for the fast path. It opens within milliseconds of an attach, and within 0.4 s of a
transaction's end: what goes through memory costs more. After a wait that timed out, reading continues into memory until
the fast path has been open again."""


class Sender(Protocol):
    """How one session's entries get from memory to Kafka: what differs between the guarantees."""

    checkpoints: CheckpointWriter
    handover: Handover

    def hand_over(self, batch: Batch) -> None:
        """The worker has submitted a batch: produce it if the fast path is open (under the session's lock)."""
        ...

    @property
    def is_out(self) -> bool:
        """Whether no transaction holds anything of it, once it is revoked (any thread)."""
        ...


class EpochLimits:
    """At least once, all events of an epoch are encoded for the same size limits of their topics.

    A limit decides which topic a record goes to. A process that is killed may leave a later dead letter in Kafka and
    not an earlier event. If that event became a dead letter too, under its old number, a consumer that keeps the
    highest number of each topic would drop it. Thread rule: the session's worker.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._version = encoder.limits.version
        self._binding = encoder.binding_limits

    def have_changed(self) -> bool:
        """Whether the topics accept other events than before. Asked again, it compares with the limits of now."""
        version = self._encoder.limits.version
        if version == self._version:
            return False
        before, self._version, self._binding = self._binding, version, self._encoder.binding_limits
        return before != self._binding


class SessionPublisher:
    """Publishes one session. Thread rule: the session's worker, apart from ``stop``, ``revoke`` and the properties."""

    def __init__(self, session: Session, sender: Sender, max_in_flight: int, limits: EpochLimits | None = None) -> None:
        """``limits``: an epoch begins when they change; exactly once needs none."""
        self.key = session.key
        self.session = session
        """Its memory, its counters, and where its numbering is."""
        self.sender = sender
        self.checkpoints = sender.checkpoints
        self._handover = sender.handover
        self._max_in_flight = max_in_flight
        self._limits = limits
        self._waits_for_fast_path = True
        self._unfinished = UnfinishedBlock(session.budget)
        self.is_waiting = False
        """Whether ``submit`` waits for memory, or for the fast path (any thread)."""

    # The worker's side

    @property
    def position(self) -> Position:
        """The position after everything submitted so far, acknowledged or not: the next request resumes after it."""
        return self.session.position

    def submit(self, events: Sequence[Event]) -> None:
        """Number these events and hand them over, in order; id-only blocks and skipped events move the id alone.

        They stay in memory until Kafka has acknowledged them. Waits while there is no budget. Raises ``Stopped`` when a
        stop ends the wait: the events that were not submitted by then are read again after the next start.
        """
        session, handover = self.session, self._handover
        at = 0
        while at < len(events):
            self._await_fast_path()
            free = min(self._max_in_flight - session.pending, _BATCH_EVENTS)
            if session.stopped.is_set():
                raise Stopped
            if not session.may_hand_over:
                handover.close_fast_path()
            if free > 0 and session.budget.reserve(_BATCH_BYTES, session.held):
                at += self._submit_batch(events if at == 0 and len(events) <= free else events[at : at + free])
            else:
                handover.request_turn()  # skipped events may fill the window, and pass without a report
                self._wait(self._has_budget)

    def _await_fast_path(self) -> None:
        handover = self._handover
        if self._waits_for_fast_path and not handover.is_fast_path_open:
            handover.request_turn()
            self._wait(lambda: handover.is_fast_path_open, at_most=_FAST_PATH_WAIT)
        self._waits_for_fast_path = handover.is_fast_path_open

    def _wait(self, may_continue: Callable[[], bool], at_most: float | None = None) -> None:
        self.is_waiting = True
        try:
            self.session.budget.wait(may_continue, self.session.stopped, at_most)
        finally:
            self.is_waiting = False

    def _submit_batch(self, events: Sequence[Event]) -> int:
        """Submit as many of these events as one batch holds; returns how many: 0 if an epoch begins before them.

        They must be encoded again then: under other numbers, and for the limits that the topics have now.

        A crash before the records are acknowledged loses nothing: no checkpoint covers the batch, so the server sends
        its events again, and they get the same numbers from the same position.
        """
        session = self.session
        is_counted = False
        try:
            start = session.position
            encoded = session.encoder.encode_batch(
                events, start.epoch, start.sequence, start.last_event_id, _BATCH_BYTES
            )
            if self._limits is not None and self._limits.have_changed():  # now, or before the batch was encoded
                self.checkpoints.fingerprint = ""
                detail = "what the topics accept has changed: a new epoch starts"
                cursor = start.last_event_id
                self.begin_epoch(
                    self.overlap_window, LifecycleEvent("resumed", "settings_changed", detail, cursor, cursor)
                )
                return 0
            with session.lock:
                if session.is_over:
                    raise Stopped
                if session.position != start:  # delivery began a new epoch meanwhile
                    return 0
                batch = Batch(events[: encoded.length], encoded, start)
                # Counted before the lock is released: delivery may discard the batch, and free its bytes, at once.
                session.budget.settle(_BATCH_BYTES, encoded.size)
                session.taken += encoded.size
                is_counted = True
                self._add_batch(batch, encoded)
        finally:
            if not is_counted:
                session.budget.settle(_BATCH_BYTES, 0)
        return encoded.length

    def _add_batch(self, batch: Batch, encoded: Encoded) -> None:
        session = self.session
        session.sequence, session.last_event_id = batch.sequence, batch.last_event_id
        if batch.count < encoded.length:
            session.skipped += sum(event.name != "" for event in batch.events) - batch.count
        for reason in encoded.dead_letters:
            session.dead_letters[reason] += 1
        session.in_flight.submit(batch)
        self.sender.hand_over(batch)

    def hold_unfinished(self, size: int) -> None:
        """Count the bytes of the stream's unfinished block; waits while too many are held, until it is stopped."""
        self._unfinished.hold(size, self.session.stopped)

    @property
    def overlap_window(self) -> OverlapWindow:
        """The window of the stream after everything submitted so far.

        Under the lock: while delivery splits the newest batch, the window of its first part alone would be returned.
        """
        with self.session.lock:
            return self.session.in_flight.submitted

    def begin_epoch(self, overlap_window: OverlapWindow, why: LifecycleEvent | None = None) -> None:
        """Number what follows in a new epoch, which resumes at ``overlap_window``; never waits.

        A crash before the barrier is acknowledged finds the old epoch; after it, the new one without a record.
        """
        session = self.session
        with session.lock:
            before = self.position
            known = max(session.epoch, session.lease.highest_epoch)
            session.epoch, session.sequence = new_epoch(known or None, unix_ms() // 1000), 0
            session.last_event_id = overlap_window.cursor
            barrier = CheckpointBarrier(self.position, overlap_window)
            if why is not None:
                self._add(Announcement(why, before, barrier))
            self._add(barrier)
            session.epochs += 1

    def announce(self, what: LifecycleEvent) -> None:
        """Publish a lifecycle record once everything before it is in Kafka; never waits."""
        with self.session.lock:
            self._add(Announcement(what, self.position))

    def mark(self, overlap_window: OverlapWindow) -> None:
        """Write a checkpoint with this window, at the present position, before any later event; never waits."""
        with self.session.lock:
            self._add(CheckpointBarrier(self.position, overlap_window))

    def end(self, why: LifecycleEvent) -> None:
        """The session is over: after everything before it is acknowledged this is announced and checkpointed."""
        session = self.session
        with session.lock:
            if session.epoch:
                barrier = CheckpointBarrier(self.position, session.in_flight.submitted, "ended")
                self._add(Announcement(why, self.position), barrier)

    def stop(self) -> None:
        """Wake a waiting ``submit`` and refuse further ones; what was submitted is still delivered."""
        self.session.stopped.set()  # the delivery thread wakes waiting workers at its next turn

    def revoke(self) -> None:
        """When this returns nothing more of it is handed to any producer; its memory is free soon (any thread)."""
        self.session.stopped.set()
        with self.session.lock:
            self.session.is_revoked = True
            self._handover.close_fast_path()

    def _has_budget(self) -> bool:
        # Half empty before it continues: a worker woken for each single record would spend its time waking up.
        session = self.session
        return session.pending <= self._max_in_flight // 2 and session.budget.has_budget(session.held)

    def _add(self, *entries: Entry) -> None:
        if not self.session.is_revoked:
            self.session.in_flight.submit(*entries)
            self._handover.close_fast_path()

    # Status

    @property
    def acknowledged(self) -> Position | None:
        """Everything up to here is in Kafka."""
        return self.session.in_flight.acknowledged

    @property
    def is_settled(self) -> bool:
        """Everything submitted is acknowledged and checkpointed; or nothing of it may go any more."""
        in_flight = self.session.in_flight
        return self.session.is_revoked or (in_flight.is_empty and self.checkpoints.has(in_flight.acknowledged))

    @property
    def published(self) -> int:
        """Events in Kafka, dead letters aside."""
        passed = tuple(self.session.in_flight.passed.items())
        return sum(count for topic, count in passed if topic != self.session.encoder.dead_letters_topic)
