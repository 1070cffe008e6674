"""What is known of the topics before a record is sent: how large it may be, and how many partitions there are.

So Kafka need not refuse a record for its size, and the client, which follows a changed topic in mid-batch, does not
choose its partition.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from bridge.clock import monotonic
from bridge.core.identity import partition_of

DEFAULT_LIMIT = 1_048_588
"""A broker's default ``max.message.bytes``: assumed where it cannot be read."""
_LARGEST_BATCH = 1_000_000
"""librdkafka's own ``batch.size``."""
_BATCH_HEADER, _RECORD_FIELDS, _HEADER_FIELDS = 61, 36, 10
"""Bytes of the batch's header, of one record's fixed fields at most, and of the lengths around one header at most."""
MAX_HEADER_BYTES = 40 * 1024
"""Bytes that the key and the headers of a record need at most: two ids, the name and the key, each up to 8 KiB."""
_LEARNED = 600.0
"""Seconds for which a limit that a refusal showed counts."""
_RECOMPRESSED = 101
"""Per cent: a broker that compresses a batch again may make it larger than the uncompressed one."""


def batch_bytes(key: bytes, value: bytes, headers: Iterable[tuple[str, bytes]]) -> int:
    """A bound for the batch that holds this record alone, as the broker stores it, uncompressed.

    Compression is not counted: with ``compression.type=uncompressed`` the broker stores the whole size.
    """
    of_headers = sum(_HEADER_FIELDS + len(name.encode()) + len(text) for name, text in headers)
    return (_BATCH_HEADER + _RECORD_FIELDS + len(key) + len(value) + of_headers) * _RECOMPRESSED // 100


class SizeLimits:
    """``max.message.bytes`` of each topic. One object for the process.

    Thread rule: any thread; an update replaces the mapping, and ``version`` says that it changed.
    """

    def __init__(self, by_topic: Mapping[str, int] | None = None, default: int = DEFAULT_LIMIT) -> None:
        """``default``: for topics whose limit is not known."""
        self._by_topic = dict(by_topic or {})
        self._default = default
        self._lock = threading.Lock()
        self._learned: Mapping[str, tuple[int, float]] = {}
        """Smaller limits that refusals showed, and until when they count."""
        self.version = 0
        self.wanted = threading.Event()
        """Set to have the topics described soon: Kafka refused a record whose size was thought to be right."""
        self.checks: int | None = None
        """How often the topics were described; None: nobody does."""

    def update(self, by_topic: Mapping[str, int]) -> None:
        """Follow the topics as they are now."""
        with self._lock:
            learned = {
                topic: (limit, until)
                for topic, (limit, until) in self._learned.items()
                if until > monotonic() and by_topic.get(topic) == self._by_topic.get(topic)
            }
            if dict(by_topic) != self._by_topic or learned != self._learned:
                self._by_topic, self._learned = dict(by_topic), learned
                self.version += 1
            self.checks = (self.checks or 0) + 1

    def learn(self, topic: str, refused: int) -> None:
        """Kafka refused a batch of so many bytes although the limit that could be read allows it (any thread).

        For some minutes it counts as too large: otherwise each record like it would end a producer. Nothing is learned
        where nobody describes the topics, and would notice that the limit was raised.
        """
        with self._lock:
            if self.checks is not None and refused <= self.of(topic):
                self._learned = {**self._learned, topic: (refused - 1, monotonic() + _LEARNED)}
                self.version += 1

    def of(self, topic: str) -> int:
        """The largest batch that the topic accepts."""
        limit, learned = self._by_topic.get(topic, self._default), self._learned.get(topic)
        return limit if learned is None else min(limit, learned[0])

    def binding(self, topics: Iterable[str], max_bytes: int) -> dict[str, int]:
        """The described limits of those of the topics that do not accept every value of up to ``max_bytes``.

        Learned limits are not among them: the record that showed one is refused again, so it stays a dead letter.
        """
        limits = {topic: self._by_topic.get(topic, self._default) for topic in topics}
        return {
            topic: limit
            for topic, limit in limits.items()
            if limit * 100 // _RECOMPRESSED < max_bytes + MAX_HEADER_BYTES
        }

    @property
    def batch_size(self) -> int:
        """Bytes of a batch on the wire: every topic accepts them."""
        return min(_LARGEST_BATCH, min(self._by_topic.values(), default=self._default))

    @property
    def largest(self) -> int:
        """Bytes of the largest single message: no topic accepts more, and the client must not refuse less."""
        return max((self._default, *self._by_topic.values()))


class PartitionCounts:
    """The number of partitions of each topic. One object for the process.

    Thread rule: any thread; an update replaces the mapping.
    """

    def __init__(self, by_topic: Mapping[str, int] | None = None) -> None:
        self.by_topic: Mapping[str, int] = dict(by_topic or {})

    def update(self, by_topic: Mapping[str, int]) -> bool:
        """Follow the topics as they are now; returns whether anything changed."""
        if dict(by_topic) == self.by_topic:
            return False
        self.by_topic = dict(by_topic)
        return True


class SessionPartitions(dict[str, int]):
    """The partition of one session's records, by topic, as long as nothing follows a change of the topics.

    -1 where the number of partitions is not known: the client chooses by the key, as here (murmur2).
    Thread rule: any thread.
    """

    def __init__(self, record_key: bytes, counts: PartitionCounts) -> None:
        super().__init__()
        self._record_key = record_key
        self._by_topic = counts.by_topic

    def __missing__(self, topic: str) -> int:
        count = self._by_topic.get(topic)
        partition = self[topic] = -1 if count is None else partition_of(self._record_key, count)
        return partition

    def place(self, topic: str) -> tuple[str, object]:
        """The topic and its partition; where that is not known, something that no other session shares."""
        partition = self[topic]
        return topic, self._record_key if partition < 0 else partition
