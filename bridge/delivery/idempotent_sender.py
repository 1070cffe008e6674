"""At-least-once delivery of one session: reports, introductions, isolation, and sending again from memory.

When something fails the fast path closes, the reports that are still to come are waited for, and the delivery thread
sends the session's batches again (``resend``). Only ``resend`` opens the fast path: while the delivery thread replaces
the producers, no worker reaches the old or the new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import inf

from bridge.clock import monotonic, unix_ms
from bridge.core.entries import Announcement, Batch, CheckpointBarrier, Entry, Stage
from bridge.core.in_flight import begins_epoch, plan_resend
from bridge.delivery.checkpoint_writer import CheckpointWriter
from bridge.delivery.handover import Handover
from bridge.delivery.producers import Place, Producers
from bridge.delivery.refusals import HighestNumbers
from bridge.delivery.session import Session

_FORGOTTEN = 3600.0
"""Seconds without an acknowledgement in a partition after which a producer may be unknown there again
(producer.id.expiration.ms: a day)."""
_PROOF = 1.0
"""Seconds that a proof holds for a new epoch: another owner comes after the session time-out, several times as long."""


class IdempotentSender:
    """Implements :class:`bridge.delivery.publisher.Sender`.

    Thread rule: reports and everything that is not in that protocol are the delivery thread's.
    """

    is_out = True

    def __init__(
        self,
        session: Session,
        checkpoints: CheckpointWriter,
        producers: Producers,
        request_turn: Callable[[IdempotentSender], None],
        answered: Callable[[IdempotentSender], None],
    ) -> None:
        """``request_turn`` asks for ``resend`` (any thread), ``answered`` for ``advance`` after the current poll."""
        self.session = session
        self.checkpoints = checkpoints
        self._producers = producers
        self._answered = answered
        self.handover = Handover(session, checkpoints, lambda: request_turn(self), self._note_acknowledged)
        self._entries = session.in_flight.entries
        self._highest = HighestNumbers(session.epoch, session.encoder.dead_letters_topic)
        self._has_answer = self._needs_epoch = False
        self._alone: Entry | None = None  # nothing behind it is produced before it is acknowledged
        self._client: object = None  # the producer of events that has what is unreported

    # What the worker calls

    def hand_over(self, batch: Batch) -> None:
        """Produce a new batch, if the fast path is open and the producer is known in its partitions."""
        if not batch.count:
            return  # it passes with the entry before it
        handover = self.handover
        if handover.is_fast_path_open and self._is_introduced(batch.counts, self._producers.introduced):
            handover.produce(batch, self._producers.events.produce_all)
        else:
            handover.close_fast_path()

    def _is_introduced(self, topics: Iterable[str], introduced: Mapping[Place, float]) -> bool:
        """Whether Kafka surely knows the producer in the partitions of these topics."""
        since, place = monotonic() - _FORGOTTEN, self.handover.partitions.place
        return all(introduced.get(place(topic), -inf) > since for topic in topics)

    # What the delivery thread does

    @property
    def awaits_checkpoint(self) -> bool:
        """The oldest entry is a barrier: the entries behind it wait for its acknowledgement."""
        return bool(self._entries) and self._entries[0].is_barrier

    def _note_acknowledged(self, entry: Entry) -> None:
        if isinstance(entry, Batch) and entry is not self.handover.piece:
            for topic in entry.counts:
                self._producers.introduced[self.handover.partitions.place(topic)] = self._producers.polled_at
        self._producers.heartbeat()
        self.note_answer()

    def note_answer(self) -> None:
        if not self._has_answer:
            self._has_answer = True
            self._answered(self)

    def advance(self) -> None:
        """Remove acknowledged entries at the head and free their bytes: once for all reports of one poll."""
        self._has_answer = False
        session, before = self.session, self.session.in_flight.acknowledged
        session.advance()
        if session.trouble is not None and not self.handover.has_failed and session.in_flight.acknowledged != before:
            self.handover.note_success()

    def lose_producers(self, recreated: frozenset[str] | None, introduced: Mapping[Place, float]) -> None:
        """The producers were replaced: what they had in flight is never reported, and goes again from memory.

        Where Kafka may not have known the old one, it may have a later batch and not an earlier one: those numbers are
        not used again. ``recreated``: topics created again since; None: that is not known. ``introduced``: where the
        old one was. Nothing is in flight now, so changed topics are followed.
        """

        def was_known(entry: Entry) -> bool:
            if not isinstance(entry, Batch):
                return True
            is_same = recreated is not None and recreated.isdisjoint(entry.counts)
            return is_same and self._is_introduced(entry.counts, introduced)

        with self.session.lock:
            for entry in self._entries:
                entry.lose()
                # A batch of several requests may be both: one refused, and a later one written without a report.
                if entry.stage in {Stage.LOST, Stage.REFUSED}:
                    self.handover.has_failed = True
                    self._needs_epoch = self._needs_epoch or not (was_known(entry) or entry is self._alone)
            self.handover.partitions = self.checkpoints.new_partitions()
            self.handover.piece = self._alone = None
            self.checkpoints.is_writing = False
            self.handover.request_turn()

    def lose_checkpoints(self) -> None:
        """The producer of checkpoints was replaced: what it had in flight goes again from memory."""
        with self.session.lock:
            for entry in (each for each in self._entries if not isinstance(each, Batch)):
                entry.lose()
                self.handover.has_failed = self.handover.has_failed or entry.stage is Stage.LOST
            self.checkpoints.is_writing = False
            self.handover.request_turn()

    def resend(self) -> bool:
        """Send what waits in memory, as far as order allows now; False when a later turn must send more."""
        if not self.session.lock.acquire(blocking=False):  # a worker without processor time may hold it for long
            return False
        try:
            return self._resend()
        finally:
            self.session.lock.release()

    def _resend(self) -> bool:
        handover, session = self.handover, self.session
        if session.is_revoked:
            return self._discard()
        self._client = self._producers.events
        handover.note_reports()
        piece = handover.piece
        if piece is not None and not piece.is_unreported and not handover.has_failed:
            handover.settle_piece()
        may_send = session.may_hand_over and not (handover.has_failed and not self._rewound())
        if not may_send or monotonic() < handover.retry_at:
            return False
        self.advance()
        is_all_sent = self._send_waiting() and not handover.has_failed
        handover.is_fast_path_open = is_all_sent and not handover.isolation.is_active
        return is_all_sent

    def _discard(self) -> bool:
        piece = self.handover.piece
        if piece is not None and piece in self._producers.isolating.values():
            return False  # the reports of its request would be attributed to the next session
        is_held, session = self._client is self._producers.events, self.session  # a replaced client holds nothing
        session.discard(self._producers.unreported.keep(self._entries) if is_held else 0)
        return True

    def _rewound(self) -> bool:
        if self.handover.size_refusals.awaits_limits or any(entry.is_unreported for entry in self._entries):
            return False  # a later report may change the next step
        self.advance()
        session, in_flight = self.session, self.session.in_flight
        is_new = plan_resend(self._entries) or self._needs_epoch
        if not self._may_number(new_epoch=is_new):
            return False
        self._highest.note(self._entries)
        self.handover.settle_failures()
        in_flight.rewind(unix_ms() // 1000, new_epoch_needed=is_new)
        self._needs_epoch, self._alone = False, None
        if is_new:
            session.epoch, session.sequence, _ = self._entries[-1].position
            session.epochs += 1
        self.handover.note_resend(new_epoch=is_new)
        return True

    def _may_number(self, *, new_epoch: bool) -> bool:
        """A new epoch hides what another owner numbers in the old one, so it needs a proof of membership."""
        return not new_epoch or self.session.lease.is_proven_within(_PROOF)

    def _send_waiting(self) -> bool:
        """Produce every waiting entry whose turn it is; True when none is left."""
        index = 0
        while index < len(self._entries):
            entry = self._entries[index]
            if entry is self._alone and entry.stage is Stage.IN_FLIGHT:
                return False
            if entry.stage is Stage.WAITING and not self._send(entry, is_oldest=index == 0):
                return False
            index += 1
        return True

    def _send(self, entry: Entry, *, is_oldest: bool) -> bool:
        """Produce one entry, or the part of it that may go now; True when the next one may follow."""
        if isinstance(entry, Batch):
            return self._send_batch(entry, is_oldest=is_oldest)
        if not is_oldest or not self._may_number(new_epoch=begins_epoch(entry)):
            return False
        self._alone = entry
        if isinstance(entry, CheckpointBarrier):
            self.handover.send_alone(entry, lambda report: self.checkpoints.write_barrier(entry, report))
        elif isinstance(entry, Announcement):
            self.handover.send_alone(entry, lambda report: self.checkpoints.announce(entry, report))
        return False

    def _send_batch(self, batch: Batch, *, is_oldest: bool) -> bool:
        handover, producers = self.handover, self._producers
        is_isolating = handover.isolation.is_active
        if (is_isolating and not is_oldest) or self._would_hide(batch):
            return False
        if is_isolating:
            self._send_piece(batch)
            return False
        records = handover.prepare(batch)
        new = {each for each in batch.counts if not self._is_introduced((each,), producers.introduced)}
        known = next((at for at, each in enumerate(records) if each.topic in new), len(records))
        if not (known or is_oldest):
            return False
        if len(records) > max(known, 1):  # a first record in a partition goes alone
            self.session.in_flight.split(batch, max(known, 1))
        self._alone = self._alone if known else batch
        return handover.produce(batch, producers.events.produce_all) and known > 0

    def _send_piece(self, batch: Batch) -> None:
        handover, producers = self.handover, self._producers
        topic = handover.prepare(batch)[0].topic
        place = topic, handover.partitions[topic]
        if place not in producers.isolating:
            handover.cut_piece(batch)
            producers.isolating[place] = self._alone = batch
            handover.produce(batch, producers.isolation.produce_all)

    def _would_hide(self, batch: Batch) -> bool:
        """Whether a record moved behind a later one in its new topic: then the next turn begins a new epoch."""
        if not self._highest.hides(batch, self.handover.prepare):
            return False
        self._needs_epoch = self.handover.has_failed = True
        self.checkpoints.fingerprint = ""
        return True

    def write_checkpoint(self) -> bool:
        """Write the acknowledged position if it moved since it was last written; False: try again soon."""
        self.advance()
        in_flight = self.session.in_flight
        position = in_flight.acknowledged
        if position is None or self.checkpoints.has(position) or self.session.is_over:
            return True
        # A barrier at the head may be under way: an older position must not be written behind it.
        if self.awaits_checkpoint:
            return False
        # Two processes that both believe to own the shard must not answer each other: only a proved owner answers.
        if self.checkpoints.must_write_again and not self._may_number(new_epoch=True):
            return False
        with self.session.lock:
            return self.session.may_hand_over and self.checkpoints.write(position, in_flight.overlap_window)
