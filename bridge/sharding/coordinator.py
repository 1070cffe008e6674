"""The shards of this process: acquired when the group assigns them, released when it revokes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.durations import Durations
from bridge.core.identity import partition_of
from bridge.core.snapshot import Replica, ShardSnapshot
from bridge.delivery.lease import Lease
from bridge.delivery.protocol import ShardDelivery
from bridge.delivery.transactional_id import TransactionFence
from bridge.errors import FatalFault, OtherCluster, SettingsError
from bridge.kafka.client_properties import ClientProperties
from bridge.kafka.group_consumer import GroupSettings
from bridge.settings import Settings
from bridge.settings.naming import group_of
from bridge.sharding.collaborators import Collaborators, Sessions
from bridge.sharding.invalid_checkpoints import mistakes_of
from bridge.sharding.leases import Leases, ShardEvent
from bridge.sharding.membership import Membership
from bridge.sharding.replica import ReplicaIdentity
from bridge.sharding.restore import ShardReader
from bridge.sharding.shard import Shard
from bridge.sharding.states import IS_SETTLED, ShardSignal, ShardState

log = get_logger("bridge.shards")

_JOIN = 0.1


class ShardCoordinator:
    """Owns the table of the shards that the group has assigned to this process.

    Thread rule: the main thread's, except ``snapshot`` and ``write_positions_again``, which are for any thread.
    """

    def __init__(self, identity: ReplicaIdentity, membership: Membership, collaborators: Collaborators) -> None:
        self._identity = identity
        self._membership = membership
        self._reader = collaborators.reader
        self.collaborators = collaborators
        self._shards: dict[int, Shard] = {}
        self.has_started = False
        """Whether the group has assigned shards, and all were acquired: later failures do not end the process."""
        self._topic_fault: FatalFault | OtherCluster | None = None
        self.left_undelivered = 0
        """Shards that were released before everything was delivered."""
        self._assignments = 0

    @classmethod
    def of(  # noqa: PLR0913, PLR0917 - what it is made of, given once
        cls,
        settings: Settings,
        clients: ClientProperties,
        shard_count: int,
        delivery: ShardDelivery,
        sessions: Sessions,
        heartbeat: Callable[[str], None],
        wake: Callable[[], None],
        durations: Durations,
    ) -> ShardCoordinator:
        """With its threads; ``heartbeat`` gets the name of each loop that turns; ``wake`` wakes the main thread."""
        identity = ReplicaIdentity.of(settings, shard_count)
        config, topic = clients.of(f"mix-bridge {identity.owner}"), settings.topics.checkpoints
        timeout = settings.kafka.group_session_timeout
        namespace = settings.namespace
        group = GroupSettings(config, group_of(namespace), topic, shard_count, settings.instance, timeout, namespace)
        membership = Membership(group, identity.metadata(), lambda: heartbeat("membership"))
        release_timeout = group.max_poll_interval / 3
        leases = Leases(membership.proofs, wake, release_timeout)
        reader = ShardReader(
            config,
            topic,
            shard_count,
            lambda shard, record: leases.post(ShardEvent(shard, foreign_record=record)),
            lambda: heartbeat("shards"),
        )
        # Shards are released before the leases' own time-out: what is not drained by then is still released properly.
        collaborators = Collaborators(
            topic, shard_count, leases, reader, delivery, sessions, identity.new_claim, 0.9 * release_timeout,
            durations.restore,
            TransactionFence(config, namespace).fence,
        )  # fmt: skip
        return cls(identity, membership, collaborators)

    def start(self) -> None:
        self._reader.start()
        self._membership.start(self.collaborators.leases)

    def tick(self) -> None:
        """Handle the events of other threads, and do what is due. Raises what ended membership, or a bug."""
        for error in (self._membership.failure, self._membership.bug, self._reader.bug, self._topic_fault):
            if error is not None:
                raise error
        self._turn()

    def _turn(self) -> None:
        for event in self.collaborators.leases.events():
            self._handle(event)
        self._check_start()
        for key in self.collaborators.sessions.must_restart():
            self._shards[partition_of(key.record_key, self.collaborators.count)].restart(key)
        for shard in list(self._shards.values()):
            shard.tick(monotonic())
            self._remove_if_gone(shard)

    def _handle(self, event: ShardEvent) -> None:
        self._assignments += event.signal is ShardSignal.ASSIGNED
        shard = self._shards.get(event.shard)
        is_current = shard is not None and event.lease in {None, shard.lease}
        if shard is not None and is_current:
            was = shard.state
            shard.handle(event)
            if self.has_started and shard.state is ShardState.BLOCKED is not was:
                log.error("this shard is not bridged", shard=event.shard, error=shard.trouble)
            self._remove_if_gone(shard)
        elif event.lease is not None and event.signal is ShardSignal.ASSIGNED:
            self._assigned(event.lease)
        elif event.lease is not None and event.signal is ShardSignal.REVOKED:
            event.lease.released.set()  # released or lost before

    def _assigned(self, lease: Lease) -> None:
        former = self._shards.get(lease.shard)
        if former is not None:  # released so late that the group assigned it again
            self._end(former)
        if lease.is_suspended or lease.is_over:  # lost before it was acquired, perhaps assigned again since
            self.collaborators.leases.replace(lease)
            return
        log.debug("shard assigned", shard=lease.shard)
        shard = self._shards[lease.shard] = Shard(lease, self.collaborators)
        shard.enter()

    def _end(self, shard: Shard) -> None:
        shard.end(ShardSignal.TAKEN_OVER)
        self._remove_if_gone(shard)

    def _remove_if_gone(self, shard: Shard) -> None:
        if shard.state is ShardState.GONE and self._shards.pop(shard.lease.shard, None) is not None:
            self.left_undelivered += shard.is_undelivered

    def _check_start(self) -> None:
        """Report the errors of all shards at once: an operator should not need one start for each."""
        are_settled = all(shard.state in IS_SETTLED for shard in self._shards.values())
        if self.has_started or not are_settled or not self.collaborators.leases.is_quiet:
            return
        blocked = [shard for shard in self._shards.values() if shard.error is not None]
        invalid = [each for shard in blocked for each in shard.invalid]
        if invalid:
            raise SettingsError(mistakes_of(self.collaborators.topic, invalid))
        for shard in blocked:
            if shard.error is not None:
                raise shard.error  # the errors of the others are the same
        self.has_started = self._membership.has_joined

    def rewrite_checkpoints(self, partitions: int) -> None:
        """The checkpoints topic was recreated: write all checkpoints to it, behind new claims.

        With another number of partitions, sessions belong to other shards: this process shuts down, and a new one
        distributes them.
        """
        before = self.collaborators.count
        self.collaborators.delivery.rewrite_checkpoints(partitions)
        if partitions == before:
            self._reader.topic_was_recreated(partitions)
            for shard in range(partitions):
                self.collaborators.leases.post(ShardEvent(shard, topic_was_recreated=True))
        else:
            self._topic_fault = FatalFault(
                f"the checkpoints topic has {partitions} partitions now, and had {before}: start again, to"
                " distribute the sessions again (topics.shards)"
            )

    def renew_clients(self) -> None:
        """Use new Kafka clients (any thread).

        The member leaves the group and joins it again: leases are suspended for a moment, and events wait in memory.
        """
        self._reader.renew_client()
        self._membership.renew_client()

    def cluster_changed(self, problem: str) -> None:
        """Another cluster answers (any thread): the process ends, and delivers nothing more."""
        self._topic_fault = OtherCluster(problem)

    def connection_failure(self) -> str:
        """What the start waits for."""
        troubles = [f"shard {each.number}: {each.trouble}" for each in self._snapshots() if each.trouble]
        if troubles:
            return "; ".join(troubles)
        waits = "the group has not assigned any shards" if not self._membership.has_joined else "shards are being read"
        cause = self._membership.connection_failure
        return waits if cause is None else f"{waits}: {cause}"

    @property
    def restored(self) -> int:
        return sum(shard.restored_checkpoints for shard in self._shards.values())

    # Shutdown

    @property
    def is_leaving(self) -> bool:
        return any(shard.state is ShardState.RELEASING for shard in self._shards.values())

    def stop(self, deadline: float) -> None:
        """Release all shards by ``deadline``, and leave the group."""
        self.has_started = True  # errors that only matter to a start do not matter any more
        self._turn()
        for shard in list(self._shards.values()):
            shard.release(deadline)
            self._remove_if_gone(shard)
        self._membership.stop()

    def join(self, deadline: float) -> bool:
        """Continue the release until ``deadline``; True when this process has left the group."""
        self._turn()
        if self._shards:
            self._membership.join(min(deadline, monotonic() + _JOIN / 4))
            return False
        return self._membership.join(deadline)

    def leave(self, deadline: float) -> None:
        """Abandon everything and leave the group, so that the next start need not wait for the session time-out."""
        self._abandon()
        self._membership.stop()
        while not self._membership.join(min(deadline, monotonic() + _JOIN)) and monotonic() < deadline:
            self._abandon()
        self._membership.abort()
        self._reader.stop()

    def _abandon(self) -> None:
        for event in self.collaborators.leases.events():
            if event.lease is not None:
                event.lease.revoke()
                event.lease.released.set()
        for shard in list(self._shards.values()):
            self._end(shard)

    def close(self, deadline: float, *, has_left: bool) -> None:
        """After ``join``, which returned ``has_left``: stop reading."""
        if not has_left:
            self._membership.abort()
        self._reader.stop()
        self._reader.join(deadline)

    @property
    def kafka_failure(self) -> str | None:
        return self._membership.connection_failure

    def snapshot(self) -> Replica:
        has_joined = self._membership.has_joined
        seen = self._identity.snapshot(self._snapshots(), self._membership.replicas.live, has_joined=has_joined)
        return replace(seen, assignments=self._assignments)

    def _snapshots(self) -> tuple[ShardSnapshot, ...]:
        held_up, counts = self._reader.held_up(), self.collaborators.sessions.running.count_by_shard()
        return tuple(
            ShardSnapshot(
                number, shard.state.public_name, shard.lease.fencing_token, counts.get(number, 0),
                shard.trouble or held_up.get(number), _open_trouble(shard) or held_up.get(number),
            )
            for number, shard in sorted(self._shards.copy().items())
        )  # fmt: skip


def _open_trouble(shard: Shard) -> str | None:
    """Why the sessions of a shard are not bridged, without the name of one."""
    if shard.error is None or not shard.invalid:
        return shard.trouble
    return f"invalid checkpoints: {len(shard.invalid)}; the log and /api/status have the commands that repair them"
