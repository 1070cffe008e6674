"""The sessions of the shards that this process owns: which may start, which are suspended, where they resume."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from bridge.clock import monotonic
from bridge.core.checkpoint_history import Restored
from bridge.core.identity import SessionKey, partition_of
from bridge.daemon.cool_downs import CoolDowns, Refusals
from bridge.daemon.restored_checkpoints import RestoredCheckpoints
from bridge.daemon.running_sessions import RunningSession, RunningSessions
from bridge.daemon.session_states import State
from bridge.daemon.session_worker import SessionWorker
from bridge.delivery.lease import Lease
from bridge.delivery.protocol import ShardDelivery


class ShardSessions:
    """The sessions of the owned shards, as the ShardCoordinator and the supervisor need them.

    Thread rule: the main thread.
    """

    def __init__(
        self, shard_count: int, delivery: ShardDelivery, running: RunningSessions, checkpoints: RestoredCheckpoints
    ) -> None:
        self.cool_downs = CoolDowns()
        self.checkpoints = checkpoints
        self._shard_count = shard_count
        self._delivery = delivery
        self.running = running
        self._leases: dict[int, Lease] = {}
        """Of the shards whose sessions may start."""
        self._suspended: set[SessionKey] = set()
        """Sessions that may not start before their stored checkpoint is read again."""
        self.refusals = Refusals(running)
        self.forgetting: set[SessionKey] = set()
        """Ended sessions whose tombstones are being written: one that returns starts after that."""
        self.floors_to_write: set[int] = set()
        """Shards whose record with the highest forgotten epoch must be written again."""
        self._departing: dict[SessionKey, SessionWorker] = {}
        """Workers of revoked sessions: no session gets a second connection before the first is closed."""

    def shard_of(self, key: SessionKey) -> int:
        return partition_of(key.record_key, self._shard_count)

    @property
    def owned(self) -> AbstractSet[int]:
        return frozenset(self._leases)

    # What the coordinator asks for

    def acquire(self, lease: Lease, restored: Mapping[SessionKey, Restored]) -> None:
        self.checkpoints.add_shard(lease.shard, restored)
        self._resume_all(lease.shard)
        self._leases[lease.shard] = lease

    def revoke(self, shard: int) -> None:
        self._leases.pop(shard, None)
        self.checkpoints.remove_shard(shard)
        for each in self.running.in_shard(shard):
            each.worker.stop()

    def is_drained(self, shard: int, *, readers: bool) -> bool:
        """Whether all that was read of the shard is in Kafka, and, if ``readers``, all its readers have ended.

        A reader that hangs in a name lookup publishes nothing more: the others must not wait for it for ever.
        """
        is_reading = readers and any(each.worker.is_alive for each in self.running.in_shard(shard))
        return self._delivery.sessions.is_settled(shard) and not is_reading

    def forget(self, shard: int) -> None:
        """Forget the shard, and what its sessions have in memory: their publishers accept nothing any more."""
        self.revoke(shard)
        for each in self.running.in_shard(shard):
            self._abandon(each)
        self.cool_downs.cancel([key for key in self.cool_downs if self.shard_of(key) == shard])
        self._resume_all(shard)

    def _resume_all(self, shard: int) -> None:
        self._suspended = {key for key in self._suspended if self.shard_of(key) != shard}

    def suspend(self, key: SessionKey) -> None:
        self._suspended.add(key)
        running = self.running.get(key)
        if running is not None:
            running.worker.stop()
            running.publisher.revoke()

    def restart_suspended(
        self, shard: int, restored: Mapping[SessionKey, Restored], keep: AbstractSet[SessionKey] = frozenset()
    ) -> None:
        for key in [key for key in self._suspended - keep if self.shard_of(key) == shard]:
            self._suspended.discard(key)
            running = self.running.get(key)
            if running is not None:
                self._delivery.sessions.close(key)
                self._abandon(running)
            self.checkpoints.put(shard, key, restored.get(key))
            self.cool_downs.cancel([key])

    def rewrite_floor(self, shard: int) -> None:
        self.floors_to_write.add(shard)

    def lease_of(self, shard: int) -> Lease | None:
        return self._leases.get(shard)

    def is_known(self, key: SessionKey) -> bool:
        """Whether the session runs, cools down, or stops."""
        is_stopping = key in self._suspended or key in self._departing
        return is_stopping or self.running.is_running(key) or key in set(self.cool_downs)

    def restored_epoch(self, key: SessionKey) -> int | None:
        restored = self.checkpoints.get(key)
        return None if restored is None else restored.checkpoint.position.epoch

    def must_restart(self) -> Iterable[SessionKey]:
        return [
            each.key
            for each in self.running.all()
            if each.publisher.session.must_restart is not None and each.key not in self._suspended
        ]

    # What the supervisor asks for

    def lease_to_start(self, key: SessionKey) -> Lease | None:
        """The lease under which the session may start now; None if it may not."""
        if key in self._suspended or key in self._departing or key in self.forgetting:
            return None
        return self._leases.get(self.shard_of(key))

    def remove_ended(self) -> None:
        """Remove the sessions that have ended and start their cool-downs."""
        self._departing = {key: worker for key, worker in self._departing.items() if worker.is_alive}
        for each in self.running.all():
            if not each.has_ended or self.refusals.holds(each):
                continue
            is_restarting = each.key in self._suspended or each.publisher.session.must_restart is not None
            if not is_restarting:
                self._remove(each)
                if each.worker.state is State.REFUSED:
                    self.cool_downs.cancel([each.key])

    def _remove(self, session: RunningSession) -> None:
        key, shard = session.key, session.lease.shard
        checkpoint = self._delivery.sessions.close(key)
        if checkpoint is not None and shard in self._leases:
            self.checkpoints.put(shard, key, Restored(checkpoint, is_stale=False))
        if session.worker.state is not State.STOPPED:  # one that gave its place to another may come back at once
            self.cool_downs.start(key, monotonic(), crashed=session.worker.state is State.CRASHED)
        self.running.remove(session)

    def _abandon(self, session: RunningSession) -> None:
        if session.worker.is_alive:
            self._departing[session.key] = session.worker
        self.running.remove(session)
