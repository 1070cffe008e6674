"""The partition of each record, chosen here and not by the client, which follows a changed topic in mid-batch."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.core.identity import partition_of


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
