"""One session's checkpoints and lifecycle records, and when at least once writes which checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from structlog.stdlib import get_logger

from bridge.clock import monotonic, unix_ms
from bridge.core.entries import Announcement, CheckpointBarrier, Entry
from bridge.core.identity import Position, partition_of
from bridge.core.records.checkpoint import Checkpoint, encode
from bridge.core.records.lifecycle import LifecycleWriter, WrittenLifecycleEvent
from bridge.core.records.topics import PartitionCounts, SessionPartitions
from bridge.core.stream.overlap import OverlapWindow
from bridge.delivery.session import Session
from bridge.kafka.client import Outgoing, ProduceFailed, ProducerClient, QueueFull, Report
from bridge.kafka.errors import ProduceError, in_full, is_for_age
from bridge.kafka.record_clock import RECORD_CLOCK

if TYPE_CHECKING:  # it uses this module
    from bridge.delivery.idempotent_sender import IdempotentSender

log = get_logger("bridge.delivery")

State = Literal["active", "ended"]

_REMEMBERED_EVENTS = 20
"""Lifecycle events of a session that are kept for the status: 10 KiB at most, and a session has one per reconnect."""


@dataclass(frozen=True, slots=True)
class OwnTopics:
    """The topics of checkpoints and lifecycle records."""

    checkpoints: str
    partitions: int
    """Of the checkpoints topic."""
    lifecycle: str
    counts: PartitionCounts = field(default_factory=PartitionCounts)

    def of(self, entry: Entry) -> str:
        """The topic of a barrier's or an announcement's record."""
        return self.lifecycle if isinstance(entry, Announcement) else self.checkpoints


class CheckpointWriter:
    """Writes one session's checkpoints and knows which of them Kafka has. Thread rule: the delivery thread."""

    def __init__(  # noqa: PLR0913, PLR0917 - its collaborators, given once
        self,
        session: Session,
        fingerprint: str,
        restored: Checkpoint | None,
        topics: OwnTopics,
        present: Callable[[], ProducerClient],
        answered: Callable[[], None],
    ) -> None:
        """``present`` returns the present producer; ``answered``: Kafka acknowledged a checkpoint."""
        self.count = 0
        """Checkpoints that Kafka has acknowledged."""
        self.produced_at = 0.0
        """When the newest checkpoint was handed to the producer, by :func:`bridge.clock.monotonic`."""
        self.announced: tuple[WrittenLifecycleEvent, ...] = ()
        """The last lifecycle events, the newest at the end. Replaced, never changed: any thread may keep it."""
        self.is_writing = False
        """A report about a checkpoint that ``write`` produced is to come; never from a producer that was replaced."""
        self._key, self._lease = session.key, session.lease
        self.fingerprint = fingerprint
        """Of what decides about records. Empty once the limit of a topic has changed: the old one would match
        if the limit were changed back. So the next start begins an epoch."""
        self._record_key = session.key.record_key
        self.topics = topics
        self._partition = partition_of(self._record_key, topics.partitions)
        self._present = present
        self._answered = answered
        self.trouble: str | None = None
        """Why checkpoints are not written at present; None when they are."""
        # How often the topic was created again, and how often the position must be written again.
        self._generation = self._written_in = self._of_transaction = (0, 0)
        self._newest = restored
        self._newest_ms = 0

    @property
    def written(self) -> Position | None:
        """The position in the newest checkpoint that Kafka has acknowledged."""
        return None if self._newest is None else self._newest.position

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint that Kafka has acknowledged."""
        newest, token = self._newest, self._lease.fencing_token
        if newest is None:
            return None
        return replace(newest, updated_ms=unix_ms(), fingerprint=self.fingerprint, fencing_token=token)

    def write(self, position: Position, overlap_window: OverlapWindow) -> bool:
        """Write an acknowledged position; False while a report about an earlier one is still to come, or it failed."""
        if self.is_writing:
            return False  # one at a time: during an outage they would pile up, and the newest replaces all
        try:
            self._produce_reported(self._new(position, overlap_window, self.state_of(position)), self._note_report)
        except (QueueFull, ProduceFailed) as failure:
            if isinstance(failure, ProduceFailed):
                self.note_trouble(failure.error)
            return False
        self.is_writing = True
        return True

    def _note_report(self, error: ProduceError | None, _message: object) -> None:
        self.is_writing = False
        if error is not None:
            self.note_trouble(error)

    def write_barrier(self, barrier: CheckpointBarrier, report: Report) -> None:
        """Write a barrier's checkpoint; raises as ``produce``. ``report`` runs after ``written`` is set."""
        self._produce_reported(self._new(barrier.position, barrier.overlap_window, barrier.state), report)

    def write_within(
        self, position: Position, overlap_window: OverlapWindow, state: State, report: Report
    ) -> Checkpoint:
        """Write a position into an open transaction; raises as ``produce``. ``report`` runs if it fails."""
        self._of_transaction = self._generation
        checkpoint = self._new(position, overlap_window, state)
        self._produce(checkpoint, report)
        return checkpoint

    def note_written(self, checkpoint: Checkpoint) -> None:
        """The transaction with this checkpoint, the last one that was written into any, is committed."""
        self._is_written(checkpoint, self._of_transaction)

    @property
    def stored(self) -> Position | None:
        """The position that the present checkpoints topic has; None if it has none."""
        return self.written if self._written_in[0] == self._generation[0] else None

    def announce(self, announcement: Announcement, report: Report) -> None:
        """Write a lifecycle record; raises as ``produce``."""
        writer, now_ms = LifecycleWriter(self._key, self.topics.lifecycle), unix_ms()
        event, epoch, sequence = announcement.lifecycle_event, announcement.epoch, announcement.sequence
        record = writer.record(event, epoch, sequence, now_ms, announcement.new_epoch)
        partition = self.new_partitions()[record.topic]
        self._present().produce(Outgoing(*record[:5], partition), report)
        before = [each for each in self.announced if each.event is not event]  # it may be written again after a failure
        self.announced = (*before, WrittenLifecycleEvent(event, now_ms, epoch, sequence))[-_REMEMBERED_EVENTS:]

    def new_partitions(self) -> SessionPartitions:
        """The partitions of the session's records, as the topics are now."""
        return SessionPartitions(self._record_key, self.topics.counts)

    def begin_again(self, partitions: int) -> None:
        """The topic was created again with so many partitions: nothing that was written is in it (any thread).

        The partition comes first: a writer reads it last, so a record of the new generation goes to the new partition.
        """
        self._partition = partition_of(self._record_key, partitions)
        self._generation = (self._generation[0] + 1, 0)

    def write_again(self) -> None:
        """A stale checkpoint was written behind ours: ours does not count until it is written again (any thread).

        A report that is still to come is about a record that may be before the stale one, so it does not count.
        """
        topic, rewrites = self._generation
        self._generation = (topic, rewrites + 1)

    @property
    def must_write_again(self) -> bool:
        """Whether another process's stale checkpoint may be the newest one in the topic."""
        return self._written_in[0] == self._generation[0] and self._written_in != self._generation

    def has(self, position: Position | None) -> bool:
        """Whether the present checkpoints topic has this position; without a position there is nothing to write."""
        return position is None or (position == self.written and self._written_in == self._generation)

    def state_of(self, position: Position, last: Entry | None = None) -> State:
        """The state at a position; ``last``: the last entry that it covers, if any is not acknowledged yet.

        A position that is written again keeps its state: otherwise an ended session would start, and end a second time.
        """
        if isinstance(last, CheckpointBarrier):
            return last.state
        newest = self._newest
        return newest.state if last is None and newest is not None and newest.position == position else "active"

    def _new(self, position: Position, overlap_window: OverlapWindow, state: State) -> Checkpoint:
        # No two of one session are equal, even at one position: so one can be recognised in the topic.
        self._newest_ms = max(unix_ms(), self._newest_ms + 1)
        token = self._lease.fencing_token
        return Checkpoint(self._key, position, state, self._newest_ms, self.fingerprint, overlap_window, token)

    def _produce_reported(self, checkpoint: Checkpoint, report: Report) -> None:
        self._produce(checkpoint, partial(self._report, checkpoint, self._generation, report))

    def _produce(self, checkpoint: Checkpoint, report: Report) -> None:
        value, topic, now = encode(checkpoint), self.topics.checkpoints, checkpoint.updated_ms
        self.produced_at = monotonic()
        self._present().produce(Outgoing(topic, self._record_key, value, [], now, self._partition), report)

    def note_trouble(self, error: ProduceError) -> None:
        if is_for_age(error):  # a checkpoint has the present time
            RECORD_CLOCK.refused()
        text = in_full(self.topics.checkpoints, error)
        if text != self.trouble:  # logged once: each interval tries again
            log.warning("Kafka does not accept a checkpoint: trying again", **self._key.log_fields, error=text)
        self.trouble = text

    def _report(
        self,
        checkpoint: Checkpoint,
        generation: tuple[int, int],
        report: Report,
        error: ProduceError | None,
        message: Any,  # noqa: ANN401 - passed on
    ) -> None:
        if error is None:
            self._is_written(checkpoint, generation)
        report(error, message)

    def _is_written(self, checkpoint: Checkpoint, generation: tuple[int, int]) -> None:
        self._newest, self._written_in = checkpoint, generation
        self.trouble = None
        self.count += 1
        self._answered()


_CHECKPOINTS_EVERY = 0.02
"""Seconds between two checkpoints of a busy session: a kill repeats what was acknowledged in half of that time on
average, and in the few milliseconds that Kafka needs for a checkpoint."""
_MOST_CHECKPOINTS = 1000
"""Checkpoints a second of all sessions: about 5 % of a core. With more busy sessions they are written less often."""


class CheckpointSchedule:
    """Writes the positions that moved, as often as that is cheap; a sweep finds those moved by skipped events alone.

    A crash repeats what was acknowledged since, under the same numbers: the interval is short to repeat little.
    Thread rule: the delivery thread.
    """

    def __init__(self, interval: float) -> None:
        """``interval``: seconds between two sweeps."""
        self._interval = interval
        self._next_write = self._next_sweep = 0.0
        self._moved: dict[IdempotentSender, None] = {}  # their position moved since it was last written

    def note_moved(self, senders: Iterable[IdempotentSender]) -> None:
        self._moved.update(dict.fromkeys(senders))

    def write_due(
        self,
        now: float,
        senders: Sequence[IdempotentSender],
        flushed: frozenset[int],
        may_write: Callable[[IdempotentSender], bool],
        *,
        is_stopping: bool,
    ) -> None:
        """Write the checkpoints that are due; those of the shards ``flushed`` are due now."""
        if now >= self._next_sweep or is_stopping:
            self._next_sweep = now + self._interval
            self.note_moved(senders)
        elif flushed:
            self.note_moved(sender for sender in senders if sender.session.lease.shard in flushed)
        elif now < self._next_write:
            return
        self._next_write = now + min(self._interval, max(_CHECKPOINTS_EVERY, len(self._moved) / _MOST_CHECKPOINTS))
        self._moved = dict.fromkeys(
            sender for sender in self._moved if not (may_write(sender) and sender.write_checkpoint())
        )
