"""The parts of the process that a shard works with, as the shard sees them."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from bridge.clock import monotonic
from bridge.core.checkpoint_history import Restored
from bridge.core.durations import Histogram
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.claim import Claim
from bridge.delivery.lease import Lease
from bridge.delivery.protocol import ShardDelivery
from bridge.errors import Stopped
from bridge.sharding.leases import Leases, ShardEvent
from bridge.sharding.restore import ShardReader
from bridge.sharding.restore_progress import RestoredShard


class Sessions(Protocol):
    """The sessions of owned shards (:class:`bridge.daemon.shard_sessions.ShardSessions`)."""

    @property
    def running(self) -> Running:
        """Those that run."""

    def acquire(self, lease: Lease, restored: Mapping[SessionKey, Restored]) -> None:
        """Bridge the shard's sessions."""

    def revoke(self, shard: int) -> None:
        """Ask the shard's readers to stop."""

    def is_drained(self, shard: int, *, readers: bool) -> bool:
        """Whether everything they read is delivered, and (``readers``) they have stopped."""

    def forget(self, shard: int) -> None:
        """Forget the shard and its sessions."""

    def suspend(self, key: SessionKey) -> None:
        """Stop the session immediately; do not start it again before ``restart_suspended``."""

    def restart_suspended(
        self, shard: int, restored: Mapping[SessionKey, Restored], keep: AbstractSet[SessionKey] = frozenset()
    ) -> None:
        """Start the suspended sessions of the shard, except those to keep, from their stored checkpoints."""

    def rewrite_floor(self, shard: int) -> None:
        """The record with the highest forgotten epoch is missing, or another process wrote one behind it."""

    def restored_epoch(self, key: SessionKey) -> int | None:
        """The epoch of the checkpoint from which the session was restored; None without one."""

    def must_restart(self) -> Iterable[SessionKey]:
        """The sessions whose memory does not match their stored checkpoint."""


class Running(Protocol):
    """The sessions that run (:class:`bridge.daemon.running_sessions.RunningSessions`)."""

    def is_running(self, key: SessionKey) -> bool:
        """Whether the session has a worker."""

    def is_out_of_transaction(self, key: SessionKey) -> bool:
        """Whether no transaction holds records of a suspended session."""

    def stale(self, shard: int, restored: Mapping[SessionKey, Restored]) -> Iterable[SessionKey]:
        """The sessions that run in a lower epoch than their stored checkpoint."""

    def count_by_shard(self) -> Mapping[int, int]:
        """The number of running sessions, by shard."""


@dataclass(frozen=True, slots=True)
class Collaborators:
    """What every shard of this process works with."""

    topic: str
    count: int
    """Of all shards."""
    leases: Leases
    reader: ShardReader
    delivery: ShardDelivery
    sessions: Sessions
    new_claim: Callable[[], Claim]
    """Makes a claim with its own nonce."""
    release_timeout: float
    """Seconds after which a revoked shard is released even if records are not delivered."""
    restore_duration: Histogram
    """From the assignment of a shard to the start of its sessions."""
    fence: Callable[[Lease, Callable[[], None]], None]
    """At least once: see :meth:`bridge.delivery.transactional_id.TransactionFence.fence`."""


_REQUEST_AGAIN = 10.0
"""Seconds until the reading is requested again: another reading of the shard may have replaced it."""
_INTERVAL = 0.1
"""Seconds between two checks whether the lease is over."""


def reclaim(lease: Lease, collaborators: Collaborators) -> Mapping[SessionKey, Checkpoint]:
    """Claim an owned shard again, and return the checkpoints since its first claim. Waits.

    Raises ``Stopped`` when the lease is over. Thread rule: any thread.
    """
    if lease.fencing_token is None:
        return {}  # it is being restored just now, and nothing of it was written yet
    answers: queue.SimpleQueue[RestoredShard] = queue.SimpleQueue()
    while not lease.is_over:
        claim = replace(collaborators.new_claim(), epoch=lease.highest_epoch)
        collaborators.reader.restore(lease.shard, claim, answers.put, after=lease.first_token or 0)
        restored = _wait(answers, lease)
        if restored is not None:
            lease.claimed(restored.token)
            collaborators.leases.post(ShardEvent(lease.shard, lease, was_reclaimed=True))
            return restored.log.checkpoints
    raise Stopped


def _wait(answers: queue.SimpleQueue[RestoredShard], lease: Lease) -> RestoredShard | None:
    deadline = monotonic() + _REQUEST_AGAIN
    while not lease.is_over and monotonic() < deadline:
        with suppress(queue.Empty):
            return answers.get(timeout=_INTERVAL)
    return None
