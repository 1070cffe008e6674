"""The sessions of the shards that this process owns: which may start, which are suspended, where they resume."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import inf

from structlog.stdlib import get_logger

from bridge.clock import Backoff, monotonic
from bridge.core.checkpoint_history import Restored
from bridge.core.identity import SessionKey, partition_of
from bridge.daemon.restored_checkpoints import RestoredCheckpoints
from bridge.daemon.running_sessions import RunningSession, RunningSessions
from bridge.daemon.session_states import State
from bridge.daemon.session_worker import SessionWorker
from bridge.delivery.lease import Lease
from bridge.delivery.protocol import Delivery

AFTER_END = 60.0
"""Seconds without a new attempt, although the session is still configured or listed: a proxy that answered 404 for a
while must not end the session for good, and a session that is really gone must not be requested all the time."""
AFTER_CRASH = 5.0
"""Seconds before a session whose worker ended by a bug is started again."""

log = get_logger("bridge.supervisor")


@dataclass(frozen=True, slots=True)
class _CoolDown:
    until: float
    since: float
    """A list later than this that lacks the session ends the cool-down too."""


class CoolDowns:
    """The cool-downs by session, in seconds of :func:`bridge.clock.monotonic`. Thread rule: one thread."""

    def __init__(self) -> None:
        self._active: dict[SessionKey, _CoolDown] = {}

    def start(self, key: SessionKey, now: float, *, crashed: bool) -> None:
        self._active[key] = _CoolDown(now + AFTER_CRASH, inf) if crashed else _CoolDown(now + AFTER_END, now)

    def __iter__(self) -> Iterator[SessionKey]:
        return iter(self._active)

    def cancel(self, keys: Iterable[SessionKey]) -> None:
        for key in keys:
            self._active.pop(key, None)

    def active(self, server: str, now: float, is_unlisted: Callable[[str, float], bool]) -> set[str]:
        """The ids of the sessions of one server that cool down.

        ``is_unlisted(session, moment)``: the server's list later than that moment lacks the session; if it is listed
        again later, it is back.
        """
        mine = {key: each for key, each in self._active.items() if key.server == server}
        over = [key for key, each in mine.items() if each.until <= now or is_unlisted(key.session_id, each.since)]
        self.cancel(over)
        return {key.session_id for key in mine if key not in over}


_REFUSED = Backoff(60.0, 3600.0)
"""Seconds until a session that was refused for its missing ids is tried again: servers seldom learn to give ids."""


class ShardSessions:
    """The sessions of the owned shards, as the ShardCoordinator and the supervisor need them.

    Thread rule: the main thread, except for ``count_by_shard`` (any).
    """

    def __init__(
        self, shard_count: int, delivery: Delivery, running: RunningSessions, checkpoints: RestoredCheckpoints
    ) -> None:
        self.cool_downs = CoolDowns()
        self.checkpoints = checkpoints
        self._shard_count = shard_count
        self._delivery = delivery
        self._running = running
        self._leases: dict[int, Lease] = {}
        """Of the shards whose sessions may start."""
        self._suspended: set[SessionKey] = set()
        """Sessions that may not start before their stored checkpoint is read again."""
        self._refused: dict[SessionKey, int] = {}
        """How often sessions were tried again after they were refused."""
        self._due: set[SessionKey] = set()
        """Refused sessions that are tried again at once."""
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
        """The shards whose sessions may start."""
        return frozenset(self._leases)

    # What the coordinator asks for

    def acquire(self, lease: Lease, restored: Mapping[SessionKey, Restored]) -> None:
        self.checkpoints.add_shard(lease.shard, restored)
        self._resume_all(lease.shard)
        self._leases[lease.shard] = lease

    def revoke(self, shard: int) -> None:
        self._leases.pop(shard, None)
        self.checkpoints.remove_shard(shard)
        for each in self._running.in_shard(shard):
            each.worker.stop()

    def is_drained(self, shard: int, *, readers: bool) -> bool:
        """Whether all that was read of the shard is in Kafka, and, if ``readers``, all its readers have ended.

        A reader that hangs in a name lookup publishes nothing more: the others must not wait for it for ever.
        """
        is_reading = readers and any(each.worker.is_alive for each in self._running.in_shard(shard))
        return self._delivery.is_settled(shard) and not is_reading

    def forget(self, shard: int) -> None:
        """Forget the shard, and what its sessions have in memory: their publishers accept nothing any more."""
        self.revoke(shard)
        for each in self._running.in_shard(shard):
            self._abandon(each)
        self.cool_downs.cancel([key for key in self.cool_downs if self.shard_of(key) == shard])
        self._resume_all(shard)

    def _resume_all(self, shard: int) -> None:
        self._suspended = {key for key in self._suspended if self.shard_of(key) != shard}

    def suspend(self, key: SessionKey) -> None:
        self._suspended.add(key)
        running = self._running.get(key)
        if running is not None:
            running.worker.stop()
            running.publisher.revoke()

    def restart_suspended(
        self, shard: int, restored: Mapping[SessionKey, Restored], keep: AbstractSet[SessionKey] = frozenset()
    ) -> None:
        for key in [key for key in self._suspended - keep if self.shard_of(key) == shard]:
            self._suspended.discard(key)
            running = self._running.get(key)
            if running is not None:
                self._delivery.close(key)
                self._abandon(running)
            self.checkpoints.put(shard, key, restored.get(key))
            self.cool_downs.cancel([key])

    def stale(self, shard: int, restored: Mapping[SessionKey, Restored]) -> Iterable[SessionKey]:
        return [
            each.key
            for each in self._running.in_shard(shard)
            if each.key in restored and each.publisher.position.epoch < restored[each.key].checkpoint.position.epoch
        ]

    def rewrite_floor(self, shard: int) -> None:
        self.floors_to_write.add(shard)

    def lease_of(self, shard: int) -> Lease | None:
        """The lease of an owned shard."""
        return self._leases.get(shard)

    def is_known(self, key: SessionKey) -> bool:
        """Whether the session runs, cools down, or stops."""
        is_stopping = key in self._suspended or key in self._departing
        return is_stopping or self._running.get(key) is not None or key in set(self.cool_downs)

    def is_out_of_transaction(self, key: SessionKey) -> bool:
        running = self._running.get(key)
        return running is None or running.publisher.is_out

    def is_running(self, key: SessionKey) -> bool:
        return self._running.get(key) is not None

    def restored_epoch(self, key: SessionKey) -> int | None:
        restored = self.checkpoints.get(key)
        return None if restored is None else restored.checkpoint.position.epoch

    def must_restart(self) -> Iterable[SessionKey]:
        return [
            each.key
            for each in self._running.all()
            if each.publisher.must_restart is not None and each.key not in self._suspended
        ]

    def count_by_shard(self) -> Mapping[int, int]:
        return self._running.count_by_shard()

    # What the supervisor asks for

    def lease_to_start(self, key: SessionKey) -> Lease | None:
        """The lease under which the session may start now; None if it may not."""
        if key in self._suspended or key in self._departing or key in self.forgetting:
            return None
        return self._leases.get(self.shard_of(key))

    def remove_ended(self) -> None:
        """Remove the sessions that have ended and start their cool-downs."""
        self._departing = {key: worker for key, worker in self._departing.items() if worker.is_alive}
        for each in self._running.all():
            if each.has_ended and not self._stays_refused(each) and not self._is_restarting(each):
                self._remove(each)
                if each.worker.state is State.REFUSED:
                    self.cool_downs.cancel([each.key])

    def retry_refused(self) -> None:
        """Try each refused session again at the next tick: the operator asked for it, or the settings have changed."""
        self._refused.clear()
        self._due |= {each.key for each in self._running.all() if each.worker.state is State.REFUSED}

    def _stays_refused(self, session: RunningSession) -> bool:
        """Whether the session is refused and not due: each connection to a Mix server without ids disturbs runs."""
        worker, key = session.worker, session.key
        if worker.state is not State.REFUSED:
            return False
        if key in self._due:
            self._due.discard(key)
            return False
        tries = self._refused.get(key, 0)
        is_due = worker.retries_refused and monotonic() >= (worker.refused_at or 0.0) + _REFUSED.delay(tries)
        if is_due:
            self._refused[key] = tries + 1
        return not is_due

    def _is_restarting(self, session: RunningSession) -> bool:
        return session.key in self._suspended or session.publisher.must_restart is not None

    def _remove(self, session: RunningSession) -> None:
        key, shard = session.key, session.lease.shard
        checkpoint = self._delivery.close(key)
        if checkpoint is not None and shard in self._leases:
            self.checkpoints.put(shard, key, Restored(checkpoint, is_stale=False))
        if session.worker.state is not State.STOPPED:  # one that gave its place to another may come back at once
            self.cool_downs.start(key, monotonic(), crashed=session.worker.state is State.CRASHED)
        self._running.remove(session)

    def _abandon(self, session: RunningSession) -> None:
        if session.worker.is_alive:
            self._departing[session.key] = session.worker
        self._running.remove(session)
