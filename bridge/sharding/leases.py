"""The lease of each shard that the group assigned, and the queue of events about shards for the main thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from structlog.stdlib import get_logger

from bridge.core.checkpoint_log import CheckpointRecord
from bridge.delivery.lease import Lease, Prover
from bridge.sharding.restore_progress import RestoredShard
from bridge.sharding.states import ShardSignal

log = get_logger("bridge.membership")


class ShardEvent(NamedTuple):
    """One event about a shard, of exactly one kind."""

    shard: int
    lease: Lease | None = None
    """The ownership that it concerns; None: whichever there is."""
    signal: ShardSignal | None = None
    restored: RestoredShard | None = None
    reading: int = 0
    """Which reading of the shard gave ``restored``."""
    foreign_record: CheckpointRecord | None = None
    topic_was_recreated: bool = False
    was_reclaimed: bool = False
    """Delivery claimed the shard itself, and read it."""


@dataclass(frozen=True, slots=True)
class _Release:
    """Shards that the main thread is releasing."""

    shards: frozenset[int]
    partitions: frozenset[int]
    """The partitions that the group waits for; none at the shutdown."""
    leases: tuple[Lease, ...]
    deadline: float

    @property
    def is_complete(self) -> bool:
        return all(lease.released.is_set() for lease in self.leases)

    def is_over(self, now: float) -> bool:
        return self.is_complete or now >= self.deadline


class Leases:
    """The shards that the group assigned to this process, and the events about them for the main thread.

    Thread rule: ``post`` is for any thread; ``replace``, ``events`` and ``is_quiet`` are for the main thread; the rest
    is for the membership thread. Nothing waits.
    """

    def __init__(self, prover: Prover, wake: Callable[[], None], release_timeout: float) -> None:
        """``wake`` wakes the main thread; ``release_timeout`` in seconds: shards not released by then are lost."""
        self.owned: frozenset[int] = frozenset()
        """The shards that this process owns, including those that it is releasing."""
        self._prover, self._wake, self._release_timeout = prover, wake, release_timeout
        self._lock = threading.Lock()
        self._leases: dict[int, Lease] = {}
        self._assigned: set[int] = set()
        """The owned shards that are not revoked."""
        self._events: queue.SimpleQueue[ShardEvent] = queue.SimpleQueue()
        self._releases: list[_Release] = []
        self._shutdown: _Release | None = None

    @property
    def is_releasing(self) -> bool:
        """Whether the group waits for this process."""
        return bool(self._releases)

    def assign(self, shards: frozenset[int]) -> None:
        """The group assigned these shards, and gave the others that were lost before to other processes.

        Ignored during the shutdown.
        """
        if self._shutdown is not None:
            return
        self.owned |= shards
        if shards:
            log.info("shards assigned", shards=sorted(shards))
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
        self._wake()

    def revoke(self, partitions: frozenset[int], now: float) -> bool:
        """The group revokes these partitions; True when they must be kept until ``released`` returns them."""
        shards = partitions & self.owned
        if not shards:
            return False
        if self._shutdown is None:
            release = self._begin(shards, partitions, now)
        else:
            release = _Release(shards, partitions, self._leases_of(shards), self._shutdown.deadline)
        self._releases.append(release)
        return True

    def _begin(self, shards: frozenset[int], partitions: frozenset[int], now: float) -> _Release:
        log.info("shards revoked", shards=sorted(shards))
        with self._lock:
            self._assigned -= shards
            # They stay known: a shard that is lost during its release must be suspended as well.
            leases = self._leases_of(shards)
            for lease in leases:
                self._signal(lease, ShardSignal.REVOKED)
        self._wake()
        return _Release(shards, partitions, leases, now + self._release_timeout)

    def released(self, now: float) -> frozenset[int]:
        """The partitions that need not be kept any more: released, lost meanwhile, or past their deadline."""
        over = [each for each in self._releases if each.is_over(now) or not each.shards & self.owned]
        for release in over:
            self._releases.remove(release)
            self._end(release)
        return frozenset[int]().union(*(release.partitions for release in over))

    def _end(self, release: _Release) -> None:
        if release.is_complete:
            self.owned -= release.shards
            return
        if late := sorted(release.shards & self.owned):
            log.error("shards released without a last checkpoint: the release took too long", shards=late)
        self.lose(release.shards)

    def lose(self, shards: frozenset[int]) -> None:
        """Another process may own these shards already: suspend their leases."""
        lost = shards & self.owned
        if not lost:
            return
        self.owned -= lost
        log.warning("shards lost", shards=sorted(lost))
        with self._lock:
            self._assigned -= lost
            for lease in self._leases_of(lost):
                lease.suspend()  # immediately, even if the main thread is busy
                self._signal(lease, ShardSignal.LOST)
        self._wake()

    def shut_down(self, now: float) -> None:
        """Begin to release everything."""
        shards = self.owned.difference(*(release.shards for release in self._releases))
        self._shutdown = self._begin(shards, frozenset(), now) if shards else _Release(shards, shards, (), now)

    def is_shut_down(self, now: float) -> bool:
        return self._shutdown is not None and not self._releases and (not self.owned or self._shutdown.is_over(now))

    def close(self) -> None:
        """Own nothing any more; shards that were not released are lost."""
        if self._shutdown is not None and self._shutdown.shards:
            self._end(self._shutdown)
        self.lose(self.owned)

    def replace(self, lease: Lease) -> None:
        """Assign the shard under a new lease, unless it was revoked or lost meanwhile."""
        with self._lock:
            if lease.shard in self._assigned and self._leases.get(lease.shard) is lease:
                new = self._leases[lease.shard] = Lease(lease.shard, self._prover)
                self.post(ShardEvent(lease.shard, new, ShardSignal.ASSIGNED))

    def events(self) -> Iterator[ShardEvent]:
        with suppress(queue.Empty):
            while True:
                yield self._events.get_nowait()

    @property
    def is_quiet(self) -> bool:
        return self._events.empty()

    def post(self, event: ShardEvent) -> None:
        self._events.put(event)
        self._wake()

    def _leases_of(self, shards: frozenset[int]) -> tuple[Lease, ...]:
        return tuple(self._leases[shard] for shard in sorted(shards) if shard in self._leases)

    def _signal(self, lease: Lease, signal: ShardSignal) -> None:
        self._events.put(ShardEvent(lease.shard, lease, signal))
