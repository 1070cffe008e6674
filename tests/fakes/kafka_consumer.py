"""A consumer of one partition in memory, and a store whose transactions hold a user's results; each call can fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import Message, TopicPartition

from bridge.consumer import Place
from bridge.core.records.record import Record

TOPIC = "mix.events"
Fault = Callable[[str], None]
"""Called with the name of each step; may raise."""


class Database:
    """What outlives the processes: committed results, highest sequences and the group's offset."""

    def __init__(self) -> None:
        self.results: list[str] = []
        self.highest: dict[Place, str] = {}
        self.offset = 0


class TransactionalStore:
    """A store and the user's results in one transaction, which an error of COMMIT rolls back, as databases do."""

    def __init__(self, database: Database, fault: Fault) -> None:
        self._database, self._fault = database, fault
        self.pending: list[str] = []

    def rollback(self) -> None:
        """Drop the results since the last save."""
        self.pending = []

    def load(self, topic: str, partition: int) -> Mapping[Place, str]:
        """Return the committed sequences."""
        self._fault("load")
        return {place: text for place, text in self._database.highest.items() if place[:2] == (topic, partition)}

    def save(self, highest: Mapping[Place, str]) -> None:
        """Commit the results and the sequences together, or nothing."""
        results, self.pending = self.pending, []
        self._fault("save")
        self._database.results += results
        for place, sequence in highest.items():
            self._database.highest[place] = max(sequence, self._database.highest.get(place, ""))
        self._fault("saved")  # the commit succeeded, and the answer was lost


class ScriptedConsumer:
    """Reads the records from the group's offset; the part of ``confluent_kafka.Consumer`` that `Events` calls."""

    def __init__(self, records: Sequence[Record], database: Database, fault: Fault) -> None:
        self._records, self._database, self._fault = records, database, fault
        self._callbacks: Mapping[str, Any] = {}
        self.position = database.offset
        self.rebalances_at: int | None = None
        """At this offset, `poll` rebalances once."""

    def subscribe(self, _topics: Sequence[str], **callbacks: Any) -> None:
        """Keep the callbacks for `rebalance`."""
        self._callbacks = callbacks

    def rebalance(self) -> None:
        """Revoke the partition and assign it again: reading continues at the committed offset."""
        partitions = [TopicPartition(TOPIC, 0)]
        self._callbacks["on_revoke"](self, partitions)
        self._callbacks["on_assign"](self, partitions)
        self.position = self._database.offset

    def poll(self, _timeout: float) -> Message | None:
        """Return the next record."""
        self._fault("poll")
        if self.position == self.rebalances_at:
            self.rebalances_at = None
            self.rebalance()
            return None
        if self.position == len(self._records):
            return None
        offset, self.position = self.position, self.position + 1
        self._fault("polled")  # the client drops the record if a signal's handler raises
        record = self._records[offset]
        return Message(TOPIC, 0, offset, record.key, record.value, list(record.headers), None, (1, record.timestamp_ms))

    def commit(self, *, offsets: Sequence[TopicPartition], asynchronous: bool) -> None:
        """Keep the offset."""
        assert isinstance(asynchronous, bool)
        self._fault("commit")
        self._database.offset = offsets[0].offset
