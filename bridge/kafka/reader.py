"""Reads partitions that are assigned by hand. Every reader of the bridge is built on this consumer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from bridge.kafka.config import below, client_logger, follow, settings_judged, unreachable

Partition = tuple[str, int]
"""A topic and the number of a partition."""
KafkaMessage = Message
"""The type of what `PartitionReader.poll` returns, for packages that may not import the Kafka client."""

FOLLOWING: Mapping[str, Any] = {
    # By default it fetches 64 MiB ahead.
    "queued.max.messages.kbytes": 8 * 1024,
    "queued.min.messages": 20_000,
    # With such a short queue, the default of one second after each fill would be most of the time.
    "fetch.queue.backoff.ms": 5,
    # A partition that is added waits for the fetch that is under way; ten idle requests a second are nothing.
    "fetch.wait.max.ms": 100,
}
"""The tuning of a reader that follows partitions for ever."""


class StoredRecord(NamedTuple):
    """One record in Kafka. ``timestamp_ms`` is Unix time; a record without a value is a tombstone."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp_ms: int


class PartitionReader:
    """Reads the committed records of its partitions. It joins no group and commits nothing.

    Each method raises ``Unreachable`` when the client fails. Thread rule: one thread.
    """

    def __init__(
        self, config: Mapping[str, Any], tuning: Mapping[str, Any], fixed: Mapping[str, Any] | None = None
    ) -> None:
        """``config`` overrides ``tuning``; ``fixed`` overrides both. Raises ``SettingsError``."""
        with settings_judged():
            values = reader_config(config, tuning) | dict(fixed or {})
            self._consumer = Consumer(values, logger=client_logger("reader"))
        follow(config, self, values)

    def set_credentials(self, username: str, password: str) -> None:
        """Use these at the next authentication (any thread)."""
        self._consumer.set_sasl_credentials(username, password)

    def assign(self, starts: Mapping[Partition, int]) -> None:
        """Add partitions, each from an offset on."""
        with _translated():
            self._consumer.incremental_assign([TopicPartition(*each, start) for each, start in starts.items()])

    def unassign(self, partitions: Iterable[Partition]) -> None:
        """Remove partitions."""
        with _translated():
            self._consumer.incremental_unassign([TopicPartition(*each) for each in partitions])

    def position(self, partition: Partition) -> int:
        """Return the offset after the last record that was returned; negative before the first one."""
        with _translated():
            return self._consumer.position([TopicPartition(*partition)])[0].offset

    def end(self, partition: Partition) -> int:
        """Return the end of a partition as the last answer of its broker named it; negative before the first one."""
        with _translated():
            return self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)[1]

    def poll(self, limit: int, timeout: float, *, fill: bool = False) -> list[KafkaMessage]:
        """Wait up to ``timeout`` seconds for records, and return at most ``limit``, errors of partitions included.

        Returns what is there once the first record has come; with ``fill`` it waits for all of them.
        """
        with _translated():
            # `consume` with a limit above 1 waits for its whole time-out while fewer records are there.
            first = self._consumer.consume(limit if fill else 1, timeout)
            return first if fill or not first else [*first, *self._consumer.consume(limit, 0)]

    def close(self) -> None:
        """End the client."""
        self._consumer.close()


_OWN: Mapping[str, Any] = {
    "group.id": "mix-bridge-reads-without-a-group",  # librdkafka requires one; it is never joined
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "enable.partition.eof": False,
}


def reader_config(config: Mapping[str, Any], tuning: Mapping[str, Any]) -> dict[str, Any]:
    """Return a reader's configuration; the settings cannot override what correct reading needs."""
    return below(tuning, config) | dict(_OWN)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except KafkaException as exception:
        raise unreachable("reading topics", exception) from exception


def stored_record(message: KafkaMessage) -> StoredRecord:
    """Return the record in a message that is no error: each of a consumer has a partition and an offset."""
    headers: Any = message.headers() or ()
    return StoredRecord(
        *partition_of(message),
        cast("int", message.offset()),
        message.key(),
        message.value(),
        headers,
        message.timestamp()[1],
    )


def partition_of(message: KafkaMessage) -> Partition:
    """Return the topic and the partition of a message or of an error."""
    return str(message.topic()), cast("int", message.partition())
