"""Create, delete and read topics."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from tests.support import record_names
from tests.support.broker import quiet_admin
from tests.support.waiting import TIMEOUT, wait_until


class Read(NamedTuple):
    """One record. ``timestamp`` in Unix milliseconds; a record without a value is a tombstone."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int

    def header(self, name: str) -> str | None:
        """Return the last header of that name as text."""
        values = [value for header, value in self.headers if header == name and value is not None]
        return values[-1].decode() if values else None


def create_topic(
    bootstrap: str, name: str, partitions: int = 1, config: Mapping[str, str] | None = None, replicas: int = -1
) -> None:
    """Create a topic and wait until its partitions are led; ``replicas`` -1 is the broker's default."""
    topic = NewTopic(name, num_partitions=partitions, replication_factor=replicas, config=dict(config or {}))
    admin = quiet_admin(bootstrap)  # named: garbage collection of a client cancels its requests
    admin.create_topics([topic], operation_timeout=TIMEOUT)[name].result(TIMEOUT)
    # Kafka answers the creation before the leaders know their partitions.
    latest = {TopicPartition(name, number): OffsetSpec.latest() for number in range(partitions)}
    wait_until(lambda: _led(admin, latest), 15, f"leaders of {name}")


def _led(admin: AdminClient, wanted: dict[TopicPartition, OffsetSpec]) -> bool:
    try:
        return all(found.result(TIMEOUT).offset >= 0 for found in admin.list_offsets(wanted).values())
    except KafkaException:
        return False


def delete_topics(bootstrap: str, *names: str) -> None:
    """Delete topics that exist."""
    admin = quiet_admin(bootstrap)
    for future in admin.delete_topics(list(names), operation_timeout=TIMEOUT).values():
        future.result(TIMEOUT)


def partitions_of(bootstrap: str, topic: str) -> list[int]:
    """Return the partitions of a topic; none when it does not exist."""
    known = quiet_admin(bootstrap).list_topics(topic, timeout=TIMEOUT).topics.get(topic)
    return [] if known is None or known.error is not None else sorted(known.partitions)


def read_topic(bootstrap: str, topic: str, *, committed: bool = True) -> list[Read]:
    """Return every record of ``topic`` up to its present end, by partition and offset.

    The list is empty when the topic does not exist. ``committed`` hides uncommitted records of transactions.
    """
    partitions = partitions_of(bootstrap, topic)
    with reader(bootstrap, committed=committed) as consumer:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        found = list(_until_all_ends(consumer, set(partitions)))
    return sorted(found, key=lambda record: (record.partition, record.offset))


def end_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    """Return the high watermark of every partition."""
    with reader(bootstrap, committed=False) as consumer:
        return {
            partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT)[1]
            for partition in partitions_of(bootstrap, topic)
        }


@contextmanager
def reader(bootstrap: str, *, committed: bool) -> Iterator[Consumer]:
    """Open a consumer that reports the end of each partition and commits no offsets."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"test-reader-{uuid.uuid4().hex}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            # With the default, the client reports the end of a partition 0.5 s late.
            "fetch.wait.max.ms": 10,
            "log_level": 2,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def _until_all_ends(consumer: Consumer, open_ends: set[int]) -> Iterator[Read]:
    while open_ends:
        for message in _next(consumer):
            error = message.error()
            if error is None:
                yield as_read(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                open_ends.discard(_int(message.partition()))
            else:
                raise KafkaException(error)


def _next(consumer: Consumer) -> list[Message]:
    """Return at least one message; ``consume`` alone waits for its whole timeout until it has the full number."""
    message = consumer.poll(TIMEOUT)
    if message is None:
        raise AssertionError(f"no message from Kafka for {TIMEOUT:g} s")
    return [message, *consumer.consume(1000, timeout=0)]


def as_read(message: Message) -> Read:
    """Convert a message of the client."""
    headers = message.headers() or []
    assert isinstance(headers, list)  # the client returns lists; its type also covers arguments of produce()
    read = Read(
        topic=str(message.topic()),
        partition=_int(message.partition()),
        offset=_int(message.offset()),
        key=_bytes(message.key()),
        value=_bytes(message.value()),
        headers=tuple((name, _bytes(value)) for name, value in headers),
        timestamp=message.timestamp()[1],
    )
    record_names.note(read.topic, read.key, read.value, read.headers)
    return read


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _int(value: int | None) -> int:
    assert value is not None
    return value


def alter(kafka: str, topic: str, **chosen: object) -> None:
    """Set settings of a topic; ``_`` stands for a dot."""
    entries = [
        ConfigEntry(name.replace("_", "."), str(value), incremental_operation=AlterConfigOpType.SET)
        for name, value in chosen.items()
    ]
    admin = quiet_admin(kafka)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(TIMEOUT)


def remove_before(kafka: str, topic: str, offset: int, partition: int = 0) -> None:
    """Remove the records before an offset, as retention does."""
    place = TopicPartition(topic, partition, offset)
    admin = quiet_admin(kafka)
    admin.delete_records([place])[place].result(TIMEOUT)
