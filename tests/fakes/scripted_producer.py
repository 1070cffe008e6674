"""A producer whose broker the test plays: records wait until the test reports them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from confluent_kafka import Message as KafkaMessage

from bridge.core.records.record import Record
from bridge.kafka.client import Outgoing, Report, Throttle
from bridge.kafka.producer import Role


class Message:
    """The record in a delivery report."""

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def topic(self) -> str:
        return self._topic


def message(topic: str) -> KafkaMessage:
    """The record that a report is about."""
    return cast("KafkaMessage", Message(topic))


class ScriptedProducer:
    """Takes every record. ``acknowledge`` reports them; ``on_poll`` is called once, in the next poll."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.fatal: str | None = None
        self.throttle = Throttle()
        self.leaders = True
        self.queue: list[tuple[str, Report]] = []
        self.produced = 0
        self.is_abandoned = False
        self.on_poll: Callable[[], None] | None = None

    def produce(self, record: Outgoing, report: Report) -> None:
        self.queue.append((record.topic, report))
        self.produced += 1

    def produce_all(self, records: Sequence[Record], report: Report, _partitions: object, /) -> tuple[int, None]:
        self.queue += [(record.topic, report) for record in records]
        self.produced += len(records)
        return len(records), None

    def poll(self, _timeout: float) -> int:
        on_poll, self.on_poll = self.on_poll, None
        if on_poll is not None:
            on_poll()
        return 0

    flush = poll

    def abandon(self) -> None:
        self.is_abandoned = True
        self.queue.clear()

    @property
    def outstanding(self) -> int:
        return len(self.queue)

    def has_leaders(self, _topics: object, _timeout: float) -> bool:
        return self.leaders

    def answers(self, *_arguments: object) -> bool:
        return True

    def acknowledge(self) -> None:
        """Report everything that waits as written."""
        queue, self.queue = self.queue, []
        for topic, report in queue:
            report(None, message(topic))
