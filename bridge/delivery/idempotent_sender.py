"""At-least-once delivery of one session: reports, introductions, trials, and what is sent again from memory.

When something fails the direct way closes, the reports still under way come in, and the delivery thread sends the
window again (``pump``). Only ``pump`` opens the direct way: while the delivery thread replaces the producers, no worker
reaches either the old or the new ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from structlog.stdlib import get_logger

from bridge.clock import monotonic, unix_ms
from bridge.core.in_flight import Announcement, CheckpointBarrier, Entry, Stage, plan_resend
from bridge.core.records.rules import Record
from bridge.delivery.checkpoint_writer import CheckpointWriter
from bridge.delivery.encoding import encode_again
from bridge.delivery.in_flight import Window
from bridge.delivery.producers import Producers
from bridge.delivery.refusals import RefusedRecord
from bridge.kafka.errors import ErrorScope, ProduceError, in_full, is_for_age, scope_of
from bridge.kafka.producer import Produce, ProduceFailed, QueueFull

log = get_logger("bridge.delivery")

_FORGOTTEN = 3600.0
"""Seconds without an answer after which a producer may be unknown to Kafka again (producer.id.expiration.ms: a day)."""
_PROOF = 1.0
"""Seconds that a proof of membership holds for a new epoch: a successor takes a shard only after the session time-out,
which is several times as long."""
_RETRY_FIRST, _RETRY_LONGEST = 0.5, 30.0
"""Seconds between two attempts at a topic that does not take records: quick at first, never a flood."""


class IdempotentSender:
    """See :class:`bridge.delivery.sender.Way`.

    Thread rule: reports and everything that is not in that protocol are the delivery thread's.
    """

    def __init__(
        self,
        window: Window,
        positions: CheckpointWriter,
        producers: Producers,
        call: Callable[[IdempotentSender], None],
        answered: Callable[[IdempotentSender], None],
    ) -> None:
        """``call`` asks for a ``pump``, from any thread; ``answered`` for an ``advance`` after the present poll."""
        self.window = window
        self.positions = positions
        self.is_direct = False
        # Topics in which the present producer has had an answer about this session. Kafka takes any first number of a
        # producer it does not know, so behind a first batch that is refused others would get in: a session's first
        # record for a topic goes first and is waited for. From then on there is no gap (see Role.EVENTS).
        self.known: set[str] = set()
        self.produced = self._reported = 0
        self._producers = producers
        self._call = call
        self._answered = answered
        self._has_answer = False
        self._entries = window.entries
        self._introduced: Entry | None = None
        self._answered_at = monotonic()
        self._failed = False
        self._place_failed = False
        self._is_late = False  # Kafka found a record too old for its topic
        self._alone = 0
        self._rejected: dict[Entry, RefusedRecord] = {}
        self._retry_at, self._retry_delay = 0.0, _RETRY_FIRST

    # What the worker calls

    @property
    def produce(self) -> Produce:
        """See :class:`~bridge.delivery.sender.Way`."""
        return self._producers.events.produce

    def keep(self, entry: Entry, record: Record) -> None:
        """See :class:`~bridge.delivery.sender.Way`: its number may change before it is sent."""

    def meet(self, _topic: str) -> None:
        """See :class:`~bridge.delivery.sender.Way`."""
        self.close()

    @property
    def is_out(self) -> bool:
        """See :class:`~bridge.delivery.sender.Way`: there are no transactions."""
        return True

    def close(self) -> None:
        """See :class:`~bridge.delivery.sender.Way`."""
        self.is_direct = False
        self._call(self)

    def call(self) -> None:
        """See :class:`~bridge.delivery.sender.Way`."""
        self._call(self)

    def awaken(self) -> None:
        """Kafka forgets producers that are idle for a day: introduce this one anew."""
        if monotonic() - self._answered_at > _FORGOTTEN:
            with self.window.lock:
                if not self._entries:
                    self.known.clear()

    def not_produced(self, entry: Entry, failure: QueueFull | ProduceFailed) -> None:
        """See :class:`~bridge.delivery.sender.Way`."""
        self.produced -= 1
        if isinstance(failure, ProduceFailed):
            self._fail(entry, failure.error)
        else:
            entry.stage = Stage.WAITING
            self.close()

    # What the delivery thread does

    @property
    def is_searching(self) -> bool:
        """Records go one at a time, to find those that Kafka refuses."""
        return self._alone > 0

    @property
    def awaits_position(self) -> bool:
        """The oldest entry is a position or an announcement: what is behind it waits for Kafka to have it."""
        entries = self._entries
        return bool(entries) and entries[0].is_barrier

    def report(self, entry: Entry, error: ProduceError | None, _message: object) -> None:
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
            self.note_answer()

    def note_answer(self) -> None:
        """Kafka has acknowledged something of this session."""
        self._has_answer = True
        self._answered(self)

    def advance(self) -> None:
        """Pass what is acknowledged at the head and free its bytes: once for all reports of one poll."""
        self._has_answer = False
        self._answered_at = monotonic()
        window = self.window
        before = window.watermark.committable
        window.advance()
        if window.trouble is not None and not self._failed and window.watermark.committable != before:
            window.trouble = None
            self._retry_delay = _RETRY_FIRST

    def _fail(self, entry: Entry, error: ProduceError) -> None:
        self.is_direct = False
        self.window.trouble = in_full(entry.topic or self.positions.topic_of(entry), error)
        self._is_late = self._is_late or is_for_age(error)
        scope = scope_of(error)
        if scope is ErrorScope.FATAL:
            self._wind_back(entry, Stage.LOST)
        elif scope is ErrorScope.RECORD and isinstance(entry, Announcement):
            # It would be refused for ever, and hold everything behind it.
            log.error(
                "Kafka refuses a lifecycle record: this is not announced",
                session=str(self.window.key), error=self.window.trouble,
                kind=entry.lifecycle_event.kind, detail=entry.lifecycle_event.detail, setting="topics.lifecycle",
            )  # fmt: skip
            entry.stage = Stage.ACKNOWLEDGED
        elif not entry.is_numbered or scope is ErrorScope.TOPIC:
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
        rejection = RefusedRecord.of(error) if known is None else known.again(error)
        if rejection is None:
            self._wind_back(entry, Stage.FAILED)
            self._place_failed = True
            return
        if known is None:
            self.window.count_dead_letter("rejected")
        self._rejected[entry] = rejection
        entry.stage = Stage.WAITING

    def hold(self) -> None:
        """Close the direct way: when this returns, no worker produces or will before the next ``pump``."""
        with self.window.lock:
            self.is_direct = False

    def lose_producers(self) -> None:
        """The producers were replaced: what they had in flight will never be reported, and goes again from memory."""
        with self.window.lock:
            for entry in self._entries:
                if entry.stage is Stage.IN_FLIGHT:
                    self._wind_back(entry, Stage.LOST)
            self._reported = self.produced
            self.known.clear()
            self._introduced = None
            self.positions.lose_producers()
            self._call(self)

    def pump(self) -> bool:
        """Send what waits in memory, as far as order allows now; False when more is to be sent at a later turn."""
        with self.window.lock:
            if self.window.is_revoked:
                self.window.discard()
                return True
            if not self.window.may_hand_over or (self._failed and not self._rewound()):
                return False
            if monotonic() < self._retry_at:
                return False
            self.advance()
            self._note_introduction()
            self.is_direct = self._send_waiting() and not self._failed
            if self.is_direct:
                self._alone = 0  # whoever was suspected has gone through
                self._is_late = False
            return self.is_direct

    def _note_introduction(self) -> None:
        one = self._introduced
        if one is not None and one.stage is Stage.ACKNOWLEDGED:
            self.known.add(one.topic)
            self._introduced = None

    def _rewound(self) -> bool:
        if self.produced != self._reported:
            return False  # some report is still to come, and it may change what is to be done
        self.advance()
        window = self.window
        if not self._may_number(new_epoch=plan_resend(self._entries).new_epoch):
            return False
        plan = window.watermark.rewind(unix_ms() // 1000)
        self._failed = False
        self._alone = max(self._alone, plan.alone)  # suspects stay suspects whatever else happens to them
        window.counters.rewinds += 1
        if plan.new_epoch:
            last = self._entries[-1]
            window.epoch, window.sequence = last.epoch, last.sequence
            window.counters.epochs += 1
        if self._place_failed:  # it wants time, and a trial first: a failure there ends nobody's producer
            self._place_failed = False
            self._alone = max(self._alone, 1)
            self._retry_at = monotonic() + self._retry_delay
            self._retry_delay = min(2 * self._retry_delay, _RETRY_LONGEST)
        log.warning(
            "Kafka did not take records: sending again from memory",
            session=str(window.key), error=window.trouble, records=len(self._entries), new_epoch=plan.new_epoch,
        )  # fmt: skip
        return True

    def _may_number(self, *, new_epoch: bool) -> bool:
        """A new epoch hides what a successor numbers in the old one: nobody begins one who may have a successor."""
        return not new_epoch or self.window.lease.is_proven_within(_PROOF)

    def _send_waiting(self) -> bool:
        """Produce every waiting entry whose turn it is; True when none is left."""
        for index, entry in enumerate(self._entries):
            barrier = entry.is_barrier or (entry.is_numbered and (self._alone > 0 or entry.topic not in self.known))
            if barrier and (index or entry.stage is Stage.IN_FLIGHT):
                return False  # it goes when it is the oldest, and nothing passes it
            if entry.stage is Stage.WAITING and _begins_epoch(entry) and not self._may_number(new_epoch=True):
                return False
            if entry.stage is Stage.WAITING and (not self._sent(entry) or barrier):
                return False  # what the client itself does not take leaves no gap: nothing may get behind it
        return True

    def _sent(self, entry: Entry) -> bool:
        entry.stage = Stage.IN_FLIGHT
        self.produced += 1
        try:
            if isinstance(entry, CheckpointBarrier):
                self.positions.write_mark(entry, partial(self.report, entry))
            elif isinstance(entry, Announcement):
                self.positions.announce(entry, partial(self.report, entry))
            else:
                self._send_record(entry)
        except (QueueFull, ProduceFailed) as failure:
            self.not_produced(entry, failure)
            return False
        return True

    def _send_record(self, entry: Entry) -> None:
        record = encode_again(self.window, entry, self._rejected.get(entry))
        entry.topic = record.topic
        if self._alone:
            producer = self._producers.trial
        else:
            producer = self._producers.events
            self._introduced = entry if entry.topic not in self.known else None
        # Neither a clock that was ahead when the event came nor a long wait may make Kafka refuse it for ever.
        now = unix_ms()
        timestamp_ms = now if self._is_late else min(record.timestamp_ms, now)
        producer.produce(
            record.topic, record.value, record.key, record.headers, timestamp_ms, partial(self.report, entry)
        )

    def write_checkpoint(self) -> None:
        """Write the committable position if it moved since it was last written (the delivery thread's timer)."""
        self.advance()
        watermark = self.window.watermark
        position = watermark.committable
        # A mark at the head may be on its way already: an older position must not be written behind it.
        if position is None or self.awaits_position or self.positions.has(position):
            return
        with self.window.lock:
            if self.window.may_hand_over:
                self.positions.write(position, watermark.overlap_window)


def _begins_epoch(entry: Entry) -> bool:
    """A mark of a new epoch, or what announces it."""
    if isinstance(entry, CheckpointBarrier):
        return entry.begins_epoch
    return isinstance(entry, Announcement) and entry.new_epoch is not None
