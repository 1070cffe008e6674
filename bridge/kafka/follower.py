"""Follows topics without end and without a consumer group: returns committed records as they arrive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from bridge.errors import SettingsError
from bridge.kafka.config import unreachable
from bridge.kafka.reader import KafkaMessage, Partition, PartitionReader, StoredRecord, partition_of, stored_record
from bridge.kafka.topic_reader import FIXED, TUNING, offset_ranges

_GONE = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})


class TopicFollower:
    """Reads partitions from their offsets on. Memory is bounded by the client's small fetch queue.

    Thread rule: one thread. Each method raises ``Unreachable`` when the client fails.
    """

    def __init__(self, config: Mapping[str, Any], starts: Mapping[Partition, int]) -> None:
        """Raises ``SettingsError``."""
        self.removed = 0
        """Offsets that Kafka removed before they were read: by retention, or because a program deleted records."""
        self._config = config
        self._next = dict(starts)
        self._reader = PartitionReader(config, {**TUNING, "fetch.wait.max.ms": 250}, FIXED)
        self._reader.assign(starts)

    def poll(self, limit: int, timeout: float) -> list[StoredRecord]:
        """Wait up to ``timeout`` seconds for records. Raises ``SettingsError`` when a topic was deleted."""
        found = []
        for message in self._reader.poll(limit, timeout):
            if (error := message.error()) is not None:
                self._judge(message, error)
                continue
            record = stored_record(message)
            self._next[record.topic, record.partition] = record.offset + 1
            found.append(record)
        return found

    def lag(self) -> int:
        """Return how many offsets are behind the newest record, as far as the brokers' last answers say.

        Once everything that is committed was read, these are the records of open transactions and what follows them.
        """
        return sum(max(0, self._reader.end(each) - offset) for each, offset in self._next.items())

    def skip(self) -> int:
        """Continue at the end of each partition, and return how many offsets were skipped."""
        ends = {each: max(offset, self._reader.end(each)) for each, offset in self._next.items()}
        skipped = sum(ends[each] - offset for each, offset in self._next.items())
        self._move(ends)
        return skipped

    def check(self) -> None:
        """Raise ``Unreachable`` if Kafka does not answer, ``SettingsError`` if a topic was deleted."""
        topics = {topic for topic, _ in self._next}
        missing = topics - {each.topic for each in offset_ranges(self._config, sorted(topics))}
        if missing:
            raise _deleted(min(missing))

    def close(self) -> None:
        """End the client."""
        self._reader.close()

    def _judge(self, message: KafkaMessage, error: KafkaError) -> None:
        partition = partition_of(message)
        if error.code() in _GONE:
            raise _deleted(partition[0])
        if error.code() == KafkaError._PARTITION_EOF:
            self._next[partition] = max(self._next[partition], message.offset() or 0)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._restart(partition)
        else:
            raise unreachable("reading topics", KafkaException(error))

    def _restart(self, partition: Partition) -> None:
        """Continue with the oldest record that Kafka still has."""
        ranges = offset_ranges(self._config, [partition[0]])
        starts = {(each.topic, each.partition): each.start for each in ranges}
        start = starts.get(partition, 0)
        self.removed += max(0, start - self._next[partition])
        self._move({partition: start})

    def _move(self, offsets: Mapping[Partition, int]) -> None:
        self._reader.unassign(offsets)
        self._reader.assign(offsets)
        self._next.update(offsets)


def _deleted(topic: str) -> SettingsError:
    return SettingsError.of("topics", f"there is no topic {topic} any more, or it is not visible")
