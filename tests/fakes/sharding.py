"""The collaborators of the shards of one process: each notes its calls and answers as the test says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from bridge.core.checkpoint_history import Restored
from bridge.core.identity import SessionKey
from bridge.core.records.claim import Claim
from bridge.delivery.lease import Lease
from bridge.errors import BridgeError
from bridge.sharding.leases import Leases
from bridge.sharding.replica import ReplicaRegistry
from bridge.sharding.restore_progress import RestoredShard


class Membership:
    """A membership that ends as soon as it is asked to."""

    has_joined = True
    replicas = ReplicaRegistry()
    failure: BridgeError | None = None
    bug: BaseException | None = None

    def start(self, leases: Leases) -> None:
        """Do nothing: the test plays the group."""

    def stop(self) -> None:
        """Leave the group."""

    is_aborted = False

    def abort(self) -> None:
        """Note it."""
        self.is_aborted = True

    def join(self, deadline: float) -> bool:  # noqa: ARG002 - the interface's
        return True


@dataclass
class Reader:
    """Records which shards the reader should read."""

    requests: list[tuple[int, Callable[[RestoredShard], None]]] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    puts: list[tuple[int, bytes, bytes | None]] = field(default_factory=list)
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    """Of all that was put."""
    bug: Exception | None = None

    def restore(self, shard: int, claim: Claim, done: Callable[[RestoredShard], None], after: int = 0) -> None:  # noqa: ARG002 - the protocol's
        self.requests.append((shard, done))
        self.claims.append(claim)

    def forget(self, shard: int) -> None:
        self.forgotten.append(shard)

    def put(self, shard: int, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        self.puts.append((shard, key, value))
        self.headers += headers

    def held_up(self) -> Mapping[int, str]:
        return {}

    def topic_was_recreated(self, partitions: int) -> None:
        """Do nothing."""

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def join(self, deadline: float) -> bool:  # noqa: ARG002 - the interface's
        return True


@dataclass
class Running:
    """The sessions that run."""

    keys: set[SessionKey] = field(default_factory=set)
    stale_keys: list[SessionKey] = field(default_factory=list)
    is_out: bool = True

    def is_running(self, key: SessionKey) -> bool:
        return key in self.keys

    def is_out_of_transaction(self, key: SessionKey) -> bool:  # noqa: ARG002 - the protocol's
        return self.is_out

    def stale(self, shard: int, restored: Mapping[SessionKey, Restored]) -> Iterable[SessionKey]:  # noqa: ARG002 - the protocol's
        return [key for key in restored if key in self.stale_keys]

    def count_by_shard(self) -> Mapping[int, int]:
        return {}


@dataclass
class Sessions:
    """Notes the orders about the sessions."""

    calls: list[str] = field(default_factory=list)
    restored: dict[SessionKey, Restored] = field(default_factory=dict)
    readers_have_stopped: bool = True
    is_delivered: bool = True
    kept: AbstractSet[SessionKey] = frozenset()
    """Those that stayed suspended last."""
    restarting: list[SessionKey] = field(default_factory=list)
    running: Running = field(default_factory=Running)
    floors: list[int] = field(default_factory=list)

    def acquire(self, lease: Lease, restored: Mapping[SessionKey, Restored]) -> None:
        self.calls.append(f"acquire {lease.shard}")
        self.restored.update(restored)

    def revoke(self, shard: int) -> None:
        self.calls.append(f"revoke {shard}")

    def is_drained(self, shard: int, *, readers: bool) -> bool:  # noqa: ARG002 - the protocol's
        return self.is_delivered and (self.readers_have_stopped or not readers)

    def forget(self, shard: int) -> None:
        self.calls.append(f"forget {shard}")

    def suspend(self, key: SessionKey) -> None:
        self.calls.append(f"suspend {key}")

    def restart_suspended(
        self, shard: int, restored: Mapping[SessionKey, Restored], keep: AbstractSet[SessionKey] = frozenset()
    ) -> None:
        self.calls.append(f"restart {shard}")
        self.kept = keep
        self.restored.update(restored)

    def rewrite_floor(self, shard: int) -> None:
        """Note the shard."""
        self.floors.append(shard)

    def restored_epoch(self, key: SessionKey) -> int | None:
        """The epoch of the restored checkpoint."""
        return self.restored[key].checkpoint.position.epoch if key in self.restored else None

    def must_restart(self) -> Iterable[SessionKey]:
        return self.restarting


@dataclass
class Delivery:
    """Notes what concerns shards."""

    entered: list[tuple[Lease, Callable[[], None]]] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    flushed: list[int] = field(default_factory=list)
    written_again: list[SessionKey] = field(default_factory=list)

    def enter(self, lease: Lease, ready: Callable[[], None]) -> None:
        """Note it; the test calls ``ready``."""
        self.entered.append((lease, ready))

    @property
    def sessions(self) -> Delivery:
        """Of the parts that a test looks at, all are here."""
        return self

    def write_again(self, key: SessionKey) -> None:
        self.written_again.append(key)

    def flush(self, shard: int) -> None:
        self.flushed.append(shard)

    def leave(self, lease: Lease) -> None:
        self.left.append(lease.shard)
