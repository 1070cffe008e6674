"""One session's checkpoints and lifecycle records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from structlog.stdlib import get_logger

from bridge.clock import monotonic, unix_ms
from bridge.core.entries import Announcement, CheckpointBarrier, Entry
from bridge.core.identity import Position, SessionKey, partition_of
from bridge.core.records.checkpoint import Checkpoint, encode
from bridge.core.records.lifecycle import LifecycleWriter, WrittenLifecycleEvent
from bridge.core.records.partitions import PartitionCounts, SessionPartitions
from bridge.core.stream.overlap import OverlapWindow
from bridge.delivery.lease import Lease
from bridge.kafka.errors import ProduceError, in_full, is_for_age
from bridge.kafka.produce import Produce, ProduceFailed, QueueFull, Report
from bridge.kafka.record_clock import RECORD_CLOCK

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
    """The partitions of all topics."""


class CheckpointWriter:
    """Writes one session's checkpoints and knows which of them Kafka has. Thread rule: the delivery thread."""

    def __init__(  # noqa: PLR0913, PLR0917 - its collaborators, given once
        self,
        key: SessionKey,
        fingerprint: str,
        restored: Checkpoint | None,
        topics: OwnTopics,
        lease: Lease,
        present: Callable[[], Produce],
        answered: Callable[[], None],
    ) -> None:
        """``present`` returns the present producer's ``produce``; ``answered``: Kafka acknowledged a checkpoint."""
        self.written = None if restored is None else restored.position
        """The position in the newest checkpoint that Kafka has acknowledged."""
        self.count = 0
        """Checkpoints that Kafka has acknowledged."""
        self.produced_at = 0.0
        """When the newest checkpoint was handed to the producer, by :func:`bridge.clock.monotonic`."""
        self.announced: tuple[WrittenLifecycleEvent, ...] = ()
        """The last lifecycle events, the newest at the end. Replaced, never changed: any thread may keep it."""
        self._key = key
        self.fingerprint = fingerprint
        """Of what decides about records. Empty once the limit of a topic has changed: the old one would match
        if the limit were changed back. So the next start begins an epoch."""
        self._record_key = key.record_key
        self._topics = topics
        self._partition = partition_of(self._record_key, topics.partitions)
        self._lease = lease
        self._present = present
        self._answered = answered
        self.trouble: str | None = None
        """Why checkpoints are not written at present; None when they are."""
        # How often the topic was created again, and how often the position must be written again.
        self._generation = self._written_in = self._of_transaction = (0, 0)
        self._is_writing = False
        self._state: State = "active" if restored is None else restored.state
        self._overlap_window = None if restored is None else restored.overlap_window
        self._newest_ms = 0

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint that Kafka has acknowledged."""
        if self.written is None or self._overlap_window is None:
            return None
        return self._checkpoint(self.written, self._overlap_window, self._state)

    def write(self, position: Position, overlap_window: OverlapWindow) -> bool:
        """Write an acknowledged position; False while a report about an earlier one is still to come, or it failed."""
        if self._is_writing:
            return False  # one at a time: during an outage they would pile up, and the newest replaces all
        try:
            state = self.state_of(position)
            report = partial(self._report, position, overlap_window, state, self._generation)
            self._produce(position, overlap_window, state, report)
        except QueueFull:
            return False
        except ProduceFailed as failure:
            self.note_trouble(failure.error)
            return False
        self._is_writing = True
        return True

    def write_barrier(self, barrier: CheckpointBarrier, report: Report) -> None:
        """Write a barrier's checkpoint; raises as ``Produce``. ``report`` runs after ``written`` is set."""
        self._produce(
            barrier.position, barrier.overlap_window, barrier.state,
            partial(self._report_barrier, barrier, self._generation, report),
        )  # fmt: skip

    def write_within(
        self, position: Position, overlap_window: OverlapWindow, state: State, report: Report
    ) -> Checkpoint:
        """Write a position into an open transaction; raises as ``Produce``. ``report`` runs if it fails."""
        self._of_transaction = self._generation
        return self._produce(position, overlap_window, state, report)

    def note_written(self, checkpoint: Checkpoint) -> None:
        """The transaction with this checkpoint, the last one that was written into any, is committed."""
        self._is_written(checkpoint.position, checkpoint.overlap_window, checkpoint.state, self._of_transaction)

    @property
    def stored(self) -> Position | None:
        """The position that the present checkpoints topic has; None if it has none."""
        return self.written if self._written_in[0] == self._generation[0] else None

    def announce(self, announcement: Announcement, report: Report) -> None:
        """Write a lifecycle record; raises as ``Produce``."""
        writer, now_ms = LifecycleWriter(self._key, self._topics.lifecycle), unix_ms()
        event, epoch, sequence = announcement.lifecycle_event, announcement.epoch, announcement.sequence
        record = writer.record(event, epoch, sequence, now_ms, announcement.new_epoch)
        partition = self.new_partitions()[record.topic]
        self._present()(record.topic, record.value, record.key, record.headers, record.timestamp_ms, report, partition)
        before = [each for each in self.announced if each.event is not event]  # it may be written again after a failure
        self.announced = (*before, WrittenLifecycleEvent(event, now_ms, epoch, sequence))[-_REMEMBERED_EVENTS:]

    def new_partitions(self) -> SessionPartitions:
        """The partitions of the session's records, as the topics are now."""
        return SessionPartitions(self._record_key, self._topics.counts)

    def lose_producers(self) -> None:
        """The report of the checkpoint that was being written will never come."""
        self._is_writing = False

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
        return self._state if last is None and position == self.written else "active"

    def topic_of(self, entry: Entry) -> str:
        """The topic of a barrier's or an announcement's record."""
        return self._topics.lifecycle if isinstance(entry, Announcement) else self._topics.checkpoints

    def _checkpoint(self, position: Position, overlap_window: OverlapWindow, state: State) -> Checkpoint:
        return Checkpoint(
            self._key, position, state, unix_ms(), self.fingerprint, overlap_window, self._lease.fencing_token
        )

    def _produce(self, position: Position, overlap_window: OverlapWindow, state: State, report: Report) -> Checkpoint:
        checkpoint = self._checkpoint(position, overlap_window, state)
        # No two of one session are equal, even at one position: so one can be recognised in the topic.
        self._newest_ms = now = max(checkpoint.updated_ms, self._newest_ms + 1)
        checkpoint = replace(checkpoint, updated_ms=now)
        value, topic = encode(checkpoint), self._topics.checkpoints
        self.produced_at = monotonic()
        self._present()(topic, value, self._record_key, [], now, report, self._partition)
        return checkpoint

    def _report(
        self,
        position: Position,
        overlap_window: OverlapWindow,
        state: State,
        generation: tuple[int, int],
        error: ProduceError | None,
        _message: object,
    ) -> None:
        self._is_writing = False
        if error is None:
            self._is_written(position, overlap_window, state, generation)
        else:
            self.note_trouble(error)

    def note_trouble(self, error: ProduceError) -> None:
        """Kafka refused a checkpoint."""
        if is_for_age(error):  # a checkpoint has the present time
            RECORD_CLOCK.refused()
        text = in_full(self._topics.checkpoints, error)
        if text != self.trouble:  # logged once: each interval tries again
            log.warning("Kafka does not accept a checkpoint: trying again", **self._key.log_fields, error=text)
        self.trouble = text

    def _report_barrier(
        self,
        barrier: CheckpointBarrier,
        generation: tuple[int, int],
        report: Report,
        error: ProduceError | None,
        message: Any,  # noqa: ANN401 - passed on
    ) -> None:
        if error is None:
            self._is_written(barrier.position, barrier.overlap_window, barrier.state, generation)
        report(error, message)

    def _is_written(
        self, position: Position, overlap_window: OverlapWindow, state: State, generation: tuple[int, int]
    ) -> None:
        self.written, self._overlap_window, self._state = position, overlap_window, state
        self._written_in = generation
        self.trouble = None
        self.count += 1
        self._answered()
