"""At least once: one idempotent producer, one thread that polls it, one watermark per session.

Crash points: before an acknowledgement the checkpoint does not speak of the record, so a restart reads it again under
the same number; after it, the timer writes only what is acknowledged. A first position and a new epoch are
acknowledged before their first record is produced (see :class:`bridge.core.in_flight.Mark`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.rules import Encoder
from bridge.delivery.budget import MemoryBudget
from bridge.delivery.checkpoint_writer import CheckpointWriter, OwnTopics
from bridge.delivery.idempotent_sender import IdempotentSender
from bridge.delivery.in_flight import Window
from bridge.delivery.lease import Lease
from bridge.delivery.producers import Producers
from bridge.delivery.publisher import SessionPublisher
from bridge.kafka.producer import IdempotentProducer, Role

log = get_logger("bridge.delivery")

_POLL = 0.025
"""Seconds the thread waits for reports: a first position waits at most this long before it is sent."""
_OUTAGE = 5.0
"""Seconds without any answer, asked for after three, from which on Kafka is taken to be away."""
_STAND = 5.0
"""Seconds between two turns after which the process stood still, and its shards may be others' by now."""
_REPLACE_FIRST, _REPLACE_LONGEST = 0.1, 10.0
"""Seconds between two new sets of producers: a refused batch ends one, and a cluster that ends each at once must not be
flooded; whatever Kafka acknowledges in between starts the row again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The delivery settings that at-least-once delivery needs; seconds, bytes, records."""

    checkpoint_interval: float
    max_in_flight: int
    max_buffer_bytes: int


class AtLeastOnce:
    """All sessions' way to Kafka.

    Thread rule: ``open`` and ``close`` are the supervisor's; outboxes belong to their workers; everything else runs in
    the delivery thread.
    """

    def __init__(
        self,
        make_producer: Callable[[Role], IdempotentProducer],
        topics: OwnTopics,
        limits: Limits,
        beat: Callable[[], None],
    ) -> None:
        """``make_producer`` makes a producer for a role; ``beat`` is called by each turn of the thread's loop."""
        self.budget = MemoryBudget(limits.max_buffer_bytes)
        self.last_answer: float | None = None
        """When Kafka last reported on a record, by :func:`bridge.clock.monotonic`."""
        self.bug: Exception | None = None
        """What ended the delivery thread although nobody asked for its end: nothing is delivered any more."""
        self._producers = Producers.made_by(make_producer)
        self._replace_at, self._replace_delay = 0.0, _REPLACE_FIRST
        self._topics = topics
        self._limits = limits
        self._beat = beat
        self._closed_checkpoints = 0
        self._senders: dict[SessionKey, IdempotentSender] = {}
        self._publishers: dict[SessionKey, SessionPublisher] = {}
        self._renewal: str | None = None  # set by the watch of the topics, as the next
        self._new_checkpoints: int | None = None
        self._called: deque[IdempotentSender] = deque()  # by any thread: these want the delivery thread
        self._answered: list[IdempotentSender] = []  # by the reports of the present poll
        self._waiting: dict[IdempotentSender, None] = {}  # in the order they called
        self._flushed: frozenset[int] = frozenset()
        self._stopping = threading.Event()
        self._aborted = threading.Event()
        self._next_checkpoints = 0.0
        self._turned_at, self._stood_at = inf, -inf
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)

    def enter(self, lease: Lease, ready: Callable[[], None]) -> None:  # noqa: ARG002 - the protocol's
        """See :class:`~bridge.delivery.protocol.Delivery`: nothing is to be done before the claim."""
        ready()

    def open(
        self,
        key: SessionKey,
        encoder: Encoder,
        fingerprint: str,
        restored: Checkpoint | None,
        lease: Lease,
    ) -> SessionPublisher:
        """See :class:`~bridge.delivery.protocol.Delivery`."""
        window = Window(key, encoder, restored, self.budget, lease)
        positions = CheckpointWriter(
            key,
            fingerprint,
            restored,
            self._topics,
            lease,
            lambda: self._producers.positions.produce,
            lambda: sender.note_answer(),  # noqa: PLW0108 - the way is made of the log, below
        )
        sender = IdempotentSender(window, positions, self._producers, self._called.append, self._answered.append)
        publisher = SessionPublisher(window, sender, self._limits.max_in_flight)
        self._senders[key], self._publishers[key] = sender, publisher
        sender.call()  # the delivery thread opens its way to the producer
        return publisher

    def close(self, key: SessionKey) -> Checkpoint | None:
        """See :class:`~bridge.delivery.protocol.Delivery`."""
        del self._publishers[key]
        sender = self._senders.pop(key)
        self._closed_checkpoints += sender.positions.count
        return sender.positions.checkpoint

    def is_settled(self, shard: int) -> bool:
        """See :class:`~bridge.delivery.protocol.Delivery`."""
        return all(self._publishers[key].is_settled for key in self._of(shard))

    def resume(self, shard: int) -> None:
        """See :class:`~bridge.delivery.protocol.Delivery`."""
        for key in self._of(shard):
            self._senders[key].call()

    def flush(self, shard: int) -> None:
        """See :class:`~bridge.delivery.protocol.Delivery`."""
        self._flushed |= {shard}

    def leave(self, lease: Lease) -> None:
        """See :class:`~bridge.delivery.protocol.Delivery`."""
        lease.revoke()
        self._flushed -= {lease.shard}
        for key in self._of(lease.shard):
            self._publishers[key].revoke()
            self.close(key)

    def _of(self, shard: int) -> list[SessionKey]:
        senders = tuple(self._senders.items())
        return [key for key, sender in senders if sender.window.lease.shard == shard]

    @property
    def checkpoints_written(self) -> int:
        """Checkpoints that Kafka has acknowledged since the start."""
        return self._closed_checkpoints + sum(sender.positions.count for sender in tuple(self._senders.values()))

    def start(self) -> None:
        """Start the delivery thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask for the end: what is in memory is delivered, the last checkpoints are written."""
        self._stopping.set()

    def join(self, deadline: float) -> bool:
        """Wait until all is delivered, by the clock of :func:`bridge.clock.monotonic`; False when the time ran out."""
        if self._thread.is_alive():
            self._thread.join(max(0.0, deadline - monotonic()))
        return not self._thread.is_alive() and not self.unsettled

    def abort(self) -> None:
        """Give up what is not yet delivered; it is read again after the next start."""
        self._aborted.set()

    def kafka_answers(self, timeout: float) -> bool:
        """Ask a broker for the checkpoints topic, waiting up to ``timeout`` seconds (any thread); notes an answer."""
        if self._producers.positions.answers(self._topics.checkpoints, timeout):
            self.last_answer = monotonic()
            return True
        return False

    @property
    def unsettled(self) -> int:
        """Sessions with something that is not yet in Kafka, or not in their checkpoint."""
        return sum(not publisher.is_settled for publisher in tuple(self._publishers.values()))

    def follow_limit(self, max_request_bytes: int) -> None:
        """The topics take batches of another size now: go on with new producers (any thread)."""
        self._renewal = f"the topics take batches of {max_request_bytes} bytes now"

    def write_positions_again(self, partitions: int) -> None:
        """The checkpoints topic is a new one, of so many partitions: write all that was in the old one (any thread)."""
        self._new_checkpoints = partitions

    # The delivery thread

    def _run(self) -> None:
        try:
            while not self._aborted.is_set():
                self._beat()
                self.turn()
                if self._stopping.is_set() and not self.unsettled:
                    return
        except Exception as bug:  # noqa: BLE001 - the main thread raises it: a thread's own death would go unnoticed
            self.bug = bug

    def turn(self) -> None:
        """Go round once: run reports, send what waits, write checkpoints."""
        self._note_stand(monotonic())
        self._poll()
        self._begin_positions_again()
        if self._answered:  # not what poll counts: it also counts the client's words about lost connections
            self.last_answer = monotonic()
            self._replace_delay = _REPLACE_FIRST
            for sender in self._answered:
                sender.advance()
            self._answered.clear()
        self._replace_if_fatal()
        if self._producers.fatal is None:  # else what waits would fail, and be wound back, at every turn
            self._pump()
        self.budget.keeps_share = self.last_answer is not None and monotonic() - self.last_answer < _OUTAGE
        self.budget.wake()
        self._write_checkpoints()

    def _write_checkpoints(self) -> None:
        now, flushed = monotonic(), self._flushed
        is_due = now >= self._next_checkpoints or self._stopping.is_set()
        if is_due:
            self._next_checkpoints = now + self._limits.checkpoint_interval
        if is_due or flushed:
            for sender in tuple(self._senders.values()):
                if is_due or sender.window.lease.shard in flushed:
                    sender.write_checkpoint()

    def _poll(self) -> None:
        on_trial = any(sender.is_searching for sender in self._waiting)
        on_mark = any(sender.awaits_position for sender in self._waiting)
        self._producers.poll(_POLL, on_trial=on_trial, on_mark=on_mark)

    def _pump(self) -> None:
        while self._called:
            self._waiting[self._called.popleft()] = None
        self._waiting = dict.fromkeys(
            sender for sender in self._waiting if not (self._may_go(sender) and sender.pump())
        )

    def _note_stand(self, now: float) -> None:
        if now - self._turned_at > _STAND:
            self._stood_at = now
            for sender in tuple(self._senders.values()):
                sender.hold()
                sender.call()
        self._turned_at = now

    def _may_go(self, sender: IdempotentSender) -> bool:
        """After a stand only what is proven to be ours still: a mark that got through before it opens no new epoch."""
        lease = sender.window.lease
        return lease.is_over or lease.is_proven_within(monotonic() - self._stood_at)  # one that is over gives free

    def _begin_positions_again(self) -> None:
        partitions, self._new_checkpoints = self._new_checkpoints, None
        if partitions is None:
            return
        self._topics = replace(self._topics, partitions=partitions)
        for sender in tuple(self._senders.values()):
            sender.positions.begin_again(partitions)
        # The client looks for new partitions of a topic it knows every five minutes only, and takes nothing for them.
        self._renewal = "the checkpoints topic is a new one"

    def _replace_if_fatal(self) -> None:
        fatal, renewal = self._producers.fatal, self._renewal
        if (fatal is None and renewal is None) or monotonic() < self._replace_at:
            return
        self._renewal = None  # whatever the topics are by now, the new ones go by it
        if fatal is None:
            log.warning("Topics were changed: going on with new producers", reason=renewal)
        else:
            log.error("A Kafka producer is finished: going on from memory with a new one", error=fatal)
        senders = tuple(self._senders.values())
        for sender in senders:
            sender.hold()  # a record handed to any producer meanwhile would overtake what is lost
        self._producers.replace()
        for sender in senders:
            sender.lose_producers()
        self._replace_at = monotonic() + self._replace_delay
        self._replace_delay = min(2 * self._replace_delay, _REPLACE_LONGEST)
