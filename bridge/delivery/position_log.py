"""One session's records in the checkpoints topic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from structlog.stdlib import get_logger

from bridge.clock import unix_ms
from bridge.core.checkpoint import Checkpoint, encode
from bridge.core.identity import Position, SessionKey, partition_of
from bridge.core.watermark import Mark
from bridge.delivery.producers import Producers
from bridge.kafka.faults import ProduceError, in_words
from bridge.kafka.producer import ProduceFailed, QueueFull

log = get_logger("bridge.delivery")

State = Literal["active", "ended"]
Report = Callable[[ProduceError | None, object], None]


@dataclass(frozen=True, slots=True)
class CheckpointTopic:
    """Where positions are written."""

    name: str
    partitions: int


class PositionLog:
    """Writes one session's positions and knows which of them Kafka has. For the delivery thread alone."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a log is made of, given once
        self,
        key: SessionKey,
        fingerprint: str,
        restored: Position | None,
        topic: CheckpointTopic,
        producers: Producers,
        answered: Callable[[], None],
    ) -> None:
        """``answered`` is called when Kafka has acknowledged a position."""
        self.written = restored
        """The position in the newest checkpoint that Kafka has acknowledged."""
        self.count = 0
        """Checkpoints that Kafka has acknowledged."""
        self._key = key
        self._fingerprint = fingerprint
        self._record_key = key.record_key
        self._topic = topic
        self._partition = partition_of(self._record_key, topic.partitions)
        self._producers = producers
        self._answered = answered
        self._state: State = "active"
        self._writing = restored

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint that Kafka has acknowledged."""
        return None if self.written is None else self._checkpoint(self.written, self._state)

    def write(self, position: Position) -> None:
        """Write a position that is acknowledged, unless Kafka has it or still owes an answer about an earlier one."""
        if position == self.written or self._writing != self.written:
            return  # one at a time: while Kafka is away they would pile up, and the newest says all
        try:
            self._produce(position, "active", partial(self._report, position))
            self._writing = position
        except QueueFull:
            return  # the next turn of the timer tries again
        except ProduceFailed as failure:
            log.warning("a checkpoint was not taken: trying again", session=str(self._key), error=str(failure))

    def write_mark(self, mark: Mark, report: Report) -> None:
        """Write a mark; raises as ``IdempotentProducer.produce``. ``report`` runs after it is known to be written."""
        self._produce(mark.position, mark.state, partial(self._report_mark, mark, report))

    def lose_producers(self) -> None:
        """What was being written will never be reported."""
        self._writing = self.written

    def _checkpoint(self, position: Position, state: State) -> Checkpoint:
        return Checkpoint(self._key, position, state, unix_ms(), self._fingerprint)

    def _produce(self, position: Position, state: State, report: Report) -> None:
        checkpoint = self._checkpoint(position, state)
        value, now = encode(checkpoint), checkpoint.updated_ms
        self._producers.positions.produce(self._topic.name, value, self._record_key, [], now, report, self._partition)

    def _report(self, position: Position, error: ProduceError | None, _message: object) -> None:
        if error is None:
            self._is_written(position, "active")
            return
        self._writing = self.written
        log.warning("Kafka did not take a checkpoint: writing it again", session=str(self._key), error=in_words(error))

    def _report_mark(self, mark: Mark, report: Report, error: ProduceError | None, message: object) -> None:
        if error is None:
            self._is_written(mark.position, mark.state)
            self._writing = mark.position
        report(error, message)

    def _is_written(self, position: Position, state: State) -> None:
        self.written, self._state = position, state
        self.count += 1
        self._answered()
