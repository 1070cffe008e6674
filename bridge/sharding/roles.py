"""What ownership of shards sees of those it orders about: who reads the checkpoints topic, and who has the sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from bridge.core.checkpoint_history import Restored
from bridge.core.identity import SessionKey
from bridge.core.records.claim import Claim
from bridge.delivery.lease import Lease
from bridge.sharding.read_state import Taken


class Reading(Protocol):
    """Who reads the checkpoints topic; see :class:`bridge.sharding.restore.ShardReader`."""

    def take(self, shard: int, claim: Claim, taken: Callable[[Taken], None], after: int = 0) -> None:
        """Write the claim, and tell what stood before it once it comes by."""
        ...

    def forget(self, shard: int) -> None:
        """Read the shard no more."""
        ...

    def held_up(self) -> Mapping[int, str]:
        """Shards that cannot be read to their claims, and why."""
        ...


class Sessions(Protocol):
    """The sessions of owned shards; see :class:`bridge.daemon.supervisor.Supervisor`."""

    def acquire(self, lease: Lease, restored: Mapping[SessionKey, Restored]) -> None:
        """Bridge the shard's sessions."""
        ...

    def revoke(self, shard: int) -> None:
        """Ask its readers to end."""
        ...

    def is_drained(self, shard: int, *, readers: bool) -> bool:
        """Whether they have, and all they read is delivered."""
        ...

    def forget(self, shard: int) -> None:
        """Forget it."""
        ...

    def suspend(self, key: SessionKey) -> None:
        """End the session here, whatever it still has, and do not begin it again before it is released."""
        ...

    def restart_suspended(self, shard: int, restored: Mapping[SessionKey, Restored]) -> None:
        """Begin what was held of the shard from where it stands now."""
        ...

    def stale(self, shard: int, restored: Mapping[SessionKey, Restored]) -> Iterable[SessionKey]:
        """Those that run in a lower epoch than the one that stands."""
        ...

    def is_out_of_transaction(self, key: SessionKey) -> bool:
        """Whether no transaction holds anything of a session that is held."""
        ...

    def restored_epoch(self, key: SessionKey) -> int | None:
        """The epoch that a session was in when it was taken over; None when it was in none."""
        ...

    def must_restart(self) -> Iterable[SessionKey]:
        """Those whose memory does not know the position that stands in Kafka."""
        ...

    def count_by_shard(self) -> Mapping[int, int]:
        """Sessions that run here, by shard."""
        ...
