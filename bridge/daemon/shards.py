"""Which sessions are this process's: the one place that knows."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from bridge.core.identity import SessionKey, partition_of


@dataclass(frozen=True, slots=True)
class Shards:
    """The shards (partitions of the checkpoints topic) and which of them this process owns. A value of any thread."""

    count: int
    owned: AbstractSet[int]

    @classmethod
    def all_of(cls, count: int) -> Shards:
        """One process owns everything."""
        return cls(count, frozenset(range(count)))

    def shard_of(self, key: SessionKey) -> int:
        """The shard a session belongs to: the partition its checkpoints are in."""
        return partition_of(key.record_key, self.count)

    def owns(self, key: SessionKey) -> bool:
        """Whether this process works on the session."""
        return self.shard_of(key) in self.owned
