"""The parts of the process that a shard works with, as the shard sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from bridge.core.checkpoint_history import Restored
from bridge.core.identity import SessionKey
from bridge.core.records.claim import Claim
from bridge.delivery.lease import Lease
from bridge.delivery.protocol import Delivery
from bridge.sharding.leases import Leases
from bridge.sharding.restore import ShardReader


class Sessions(Protocol):
    """The sessions of owned shards (:class:`bridge.daemon.supervisor.Supervisor`)."""

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

    def restart_suspended(self, shard: int, restored: Mapping[SessionKey, Restored]) -> None:
        """Start the suspended sessions of the shard from their stored checkpoints."""

    def stale(self, shard: int, restored: Mapping[SessionKey, Restored]) -> Iterable[SessionKey]:
        """The sessions that run in a lower epoch than their stored checkpoint."""

    def is_out_of_transaction(self, key: SessionKey) -> bool:
        """Whether no transaction holds records of a suspended session."""

    def restored_epoch(self, key: SessionKey) -> int | None:
        """The epoch of the checkpoint from which the session was restored; None without one."""

    def must_restart(self) -> Iterable[SessionKey]:
        """The sessions whose memory does not match their stored checkpoint."""

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
    delivery: Delivery
    sessions: Sessions
    new_claim: Callable[[], Claim]
    """Makes a claim with its own nonce."""
    release_timeout: float
    """Seconds after which a shard that the group revokes goes as it is."""
