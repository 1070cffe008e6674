"""The lease of each assigned shard, and the queue of events about shards for the main thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from bridge.core.checkpoint_log import CheckpointRecord
from bridge.delivery.lease import Lease, Prover
from bridge.sharding.restore_progress import RestoredShard
from bridge.sharding.states import ShardSignal


class ShardEvent(NamedTuple):
    """One event about a shard, of exactly one kind."""

    shard: int
    lease: Lease | None = None
    """The ownership that it concerns; None: whichever there is."""
    signal: ShardSignal | None = None
    restored: RestoredShard | None = None
    foreign_record: CheckpointRecord | None = None
    """A record that another process wrote."""
    topic_was_recreated: bool = False
    was_reclaimed: bool = False
    """Delivery claimed the shard itself, and read it."""


class Leases:
    """Follows the group's assignment; see :class:`bridge.sharding.assigned_partitions.RebalanceListener`.

    Thread rule: ``assigned``, ``revoked`` and ``lost`` are for the membership thread, ``post`` for any thread,
    ``replace`` and ``events`` for the main thread.
    """

    def __init__(self, prover: Prover, wake: Callable[[], None]) -> None:
        """``wake`` wakes the main thread."""
        self._prover = prover
        self._wake = wake
        self._lock = threading.Lock()
        self._leases: dict[int, Lease] = {}
        self._assigned: set[int] = set()
        self._events: queue.SimpleQueue[ShardEvent] = queue.SimpleQueue()

    def assigned(self, shards: frozenset[int]) -> None:
        """The group assigns these shards. It gave the others that were lost before to other processes."""
        with self._lock:
            self._assigned |= shards
            for shard, lease in list(self._leases.items()):
                if lease.is_suspended and shard not in self._assigned:
                    del self._leases[shard]
                    lease.revoke()
                    self._signal(lease, ShardSignal.TAKEN_OVER)
            for shard in shards:
                known = self._leases.get(shard)
                if known is None or not known.is_suspended:
                    known = self._leases[shard] = Lease(shard, self._prover)
                self._signal(known, ShardSignal.ASSIGNED)

    def replace(self, lease: Lease) -> None:
        """Assign the shard under a new lease, unless it was revoked or lost meanwhile."""
        with self._lock:
            if lease.shard in self._assigned and self._leases.get(lease.shard) is lease:
                new = self._leases[lease.shard] = Lease(lease.shard, self._prover)
                self._signal(new, ShardSignal.ASSIGNED)

    def revoked(self, shards: frozenset[int]) -> Callable[[], bool]:
        """The group revokes these shards; the result says whether all are released."""
        with self._lock:
            self._assigned -= shards
            # They stay known: a shard that is lost during its release must be suspended as well.
            leases = [lease for shard in shards if (lease := self._leases.get(shard)) is not None]
            for lease in leases:
                self._signal(lease, ShardSignal.REVOKED)
        return lambda: all(lease.released.is_set() for lease in leases)

    def lost(self, shards: frozenset[int]) -> None:
        """Another process may own these shards already: from here on nothing of them is handed to a producer."""
        with self._lock:
            self._assigned -= shards
            for shard in shards:
                if (lease := self._leases.get(shard)) is not None:
                    lease.suspend()  # immediately, even if the main thread is busy
                    self._signal(lease, ShardSignal.LOST)

    def _signal(self, lease: Lease, signal: ShardSignal) -> None:
        self.post(ShardEvent(lease.shard, lease, signal))

    def post(self, event: ShardEvent) -> None:
        self._events.put(event)
        self._wake()

    def events(self) -> Iterator[ShardEvent]:
        """The queued events, until there are no more."""
        with suppress(queue.Empty):
            while True:
                yield self._events.get_nowait()

    @property
    def is_quiet(self) -> bool:
        return self._events.empty()
