"""What a session's outbox sees of the guarantee behind it: how its entries get from memory to Kafka."""

from __future__ import annotations

from typing import Protocol

from bridge.core.in_flight import Entry
from bridge.core.records.rules import Record
from bridge.delivery.checkpoint_writer import CheckpointWriter
from bridge.kafka.errors import ProduceError
from bridge.kafka.producer import Produce, ProduceFailed, QueueFull


class Sender(Protocol):
    """One session's way to Kafka. The worker calls it under its window's lock, ``call`` and ``awaken`` aside."""

    positions: CheckpointWriter
    is_direct: bool
    """The worker may produce what it has numbered. Where not it only remembers, and delivery sends from memory."""
    known: set[str]
    """Topics the worker may produce to; it ``meet``s any other first."""
    produced: int
    """Records that were handed to a producer, by the worker or from memory."""

    @property
    def produce(self) -> Produce:
        """For one batch of events."""
        ...

    def report(self, entry: Entry, error: ProduceError | None, message: object, /) -> None:
        """One delivery report, in the thread that polls."""
        ...

    def meet(self, topic: str) -> None:
        """The session has a first record for this topic."""
        ...

    def keep(self, entry: Entry, record: Record) -> None:
        """The worker does not send it: delivery will."""
        ...

    def not_produced(self, entry: Entry, failure: QueueFull | ProduceFailed) -> None:
        """No report will come of this one: it waits, or its error is what a report would have said."""
        ...

    @property
    def is_out(self) -> bool:
        """Whether no transaction holds anything of it any more, once it is revoked (any thread)."""
        ...

    def close(self) -> None:
        """Something was added that delivery itself must send: nothing passes it on the direct way."""
        ...

    def awaken(self) -> None:
        """A batch of events is about to come (the worker, without the lock)."""
        ...

    def call(self) -> None:
        """Have the delivery thread look at this session soon (any thread)."""
        ...
