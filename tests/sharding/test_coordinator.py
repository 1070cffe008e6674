"""The shards of one process: owned behind a claim, released when all is delivered, suspended when lost."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import pytest

from bridge.clock import monotonic, unix_ms
from bridge.core.checkpoint_history import Restored
from bridge.core.checkpoint_log import CheckpointLog, CheckpointRecord
from bridge.core.durations import RESTORE_BOUNDS, Histogram
from bridge.core.identity import Position, SessionKey, partition_of
from bridge.core.records import claim as claims
from bridge.core.records.checkpoint import Checkpoint, decode, encode
from bridge.core.records.claim import CLAIM_KEY, EXACTLY_ONCE, EXACTLY_ONCE_KEY, Claim
from bridge.core.stream.overlap import OverlapWindow
from bridge.delivery import protocol
from bridge.delivery.lease import Lease
from bridge.errors import SettingsError
from bridge.kafka.reader import StoredRecord
from bridge.sharding.collaborators import Collaborators
from bridge.sharding.coordinator import ShardCoordinator
from bridge.sharding.leases import Leases, ShardEvent
from bridge.sharding.membership import Membership
from bridge.sharding.replica import ReplicaIdentity
from bridge.sharding.restore import ShardReader
from bridge.sharding.restore_progress import RestoredShard, checkpoint_record
from tests.fakes import sharding as fakes
from tests.fakes.membership import SoleOwner

COUNT = 4
KEY = SessionKey("local", "a")
HOME = partition_of(KEY.record_key, COUNT)
OTHER = (HOME + 1) % COUNT
OF_HOME = next(key for i in range(99) if partition_of((key := SessionKey("local", f"b{i}")).record_key, COUNT) == HOME)
POSITION = Position(5, 3, "3")
ONE, OTHERS, NONE = frozenset({HOME}), frozenset({OTHER}), frozenset[int]()


class Scene:
    """The shards of one process; the test plays the group and the other threads."""

    def __init__(self, release_timeout: float = 30.0) -> None:
        self.reader, self.sessions, self.delivery = fakes.Reader(), fakes.Sessions(), fakes.Delivery()
        self.leases = Leases(SoleOwner(), lambda: None, 30.0)
        self.fenced: list[tuple[Lease, Callable[[], None]]] = []
        """The requests to fence transactions of former owners."""
        nonces = itertools.count()
        self.guarantee = "at_least_once"
        self.restore_duration = Histogram(RESTORE_BOUNDS)
        collaborators = Collaborators(
            "checkpoints",
            COUNT,
            self.leases,
            cast("ShardReader", self.reader),
            cast("protocol.ShardDelivery", self.delivery),
            self.sessions,
            lambda: claim(str(next(nonces)), guarantee=self.guarantee),
            release_timeout,
            self.restore_duration,
            lambda lease, done: self.fenced.append((lease, done)),
        )
        self.coordinator = ShardCoordinator(
            ReplicaIdentity(None, "host", "host:1", "run", "s", COUNT),
            cast("Membership", fakes.Membership()),
            collaborators,
        )

    def tick(self) -> None:
        self.coordinator.tick()

    def assign(self, shards: frozenset[int] = ONE) -> None:
        """Assign shards, and have the coordinator handle it."""
        self.leases.assign(shards)
        self.tick()

    def lose(self) -> None:
        """Lose the shard, and have the coordinator handle it."""
        self.leases.lose(ONE)
        self.tick()

    def fence(self) -> None:
        """The former owner of the shard that was entered last is fenced."""
        self.delivery.entered[-1][1]()
        self.tick()

    def claiming(self, shard: int = HOME) -> None:
        """Assign a shard whose former owner is fenced: its claim is requested."""
        self.assign(frozenset({shard}))
        self.fence()

    def owning(self, shard: int = HOME) -> Lease:
        """Acquire a shard; its lease."""
        self.claiming(shard)
        self.read(7)
        return self.lease

    def revoke(self) -> Callable[[], bool]:
        """The group revokes the shard; the result is whether its present lease is released."""
        lease = self.leases._leases[HOME]
        assert self.leases.revoke(ONE, monotonic())
        return lease.released.is_set

    @property
    def lease(self) -> Lease:
        return self.delivery.entered[-1][0]

    def returning(self) -> Lease:
        """Acquire a shard, lose it, and have it assigned again; its lease."""
        lease = self.owning()
        self.leases.lose(ONE)
        self.assign()
        return lease

    def read(self, token: int, log: CheckpointLog | None = None, previous: Claim | None = None) -> None:
        """The reader reads the claim of the last request."""
        shard, done = self.reader.requests[-1]
        done(RestoredShard(shard, token, previous, log or CheckpointLog(COUNT)))
        self.tick()

    def foreign(
        self,
        value: bytes = b"{}",
        offset: int = 9,
        key: bytes = KEY.record_key,
        shard: int = HOME,
        forgotten_by: int | None = None,
    ) -> None:
        """The reader finds a record of another process."""
        self.found(CheckpointRecord(shard, offset, 0, key, value, forgotten_by))

    def found(self, *records: CheckpointRecord) -> None:
        """The reader finds these records."""
        for record in records:
            self.leases.post(ShardEvent(record.partition, foreign_record=record))
        self.tick()

    @property
    def states(self) -> dict[int, str]:
        """The states of all shards, as ``/api/status`` has them."""
        return {each.number: each.stage for each in self.coordinator.snapshot().shards}

    @property
    def trouble(self) -> str:
        return next((each.trouble or "" for each in self.coordinator.snapshot().shards if each.number == HOME), "")


@pytest.fixture
def scene() -> Scene:
    return Scene()


def claim(nonce: str = "n", shards: int = COUNT, guarantee: str = "at_least_once") -> Claim:
    return Claim("host:1", nonce, shards, "s", 0, guarantee)


def checkpoint(position: Position = POSITION) -> Checkpoint:
    return Checkpoint(KEY, position, "active", 0, "", OverlapWindow.starting(position.last_event_id))


def log_with(value: bytes = b"", claim_offsets: Sequence[int] = ()) -> CheckpointLog:
    """The partition's claims, then one checkpoint."""
    log = CheckpointLog(COUNT)
    for offset in claim_offsets:
        log.add(HOME, offset, 0, CLAIM_KEY, claims.encode(claim(str(offset))))
    if value:
        log.add(HOME, 13, 0, KEY.record_key, value)
    return log


# Acquire


def test_sessions_start_when_the_claim_was_read_and_not_before(scene: Scene) -> None:
    """Fence, claim, read, own: in this order."""
    scene.assign()
    assert scene.states == {HOME: "fencing"}
    assert scene.reader.requests == []
    scene.fence()
    assert scene.states == {HOME: "restoring"}
    assert scene.sessions.calls == []
    assert not scene.coordinator.has_started
    scene.read(7, log_with(encode(checkpoint())))
    assert scene.states == {HOME: "owned"}
    assert scene.sessions.calls == [f"acquire {HOME}"]
    assert scene.sessions.restored[KEY].checkpoint == checkpoint()
    assert scene.lease.fencing_token == 7
    assert scene.coordinator.has_started


def test_another_number_of_shards_in_the_last_claim_ends_the_start(scene: Scene) -> None:
    """The error names the fix."""
    scene.claiming()
    with pytest.raises(SettingsError, match=r"4 partitions, but host:1 owned a shard of 8: .*checkpoints export"):
        scene.read(7, previous=claim(shards=8))


def test_invalid_checkpoints_end_the_start_but_not_a_running_process(scene: Scene) -> None:
    """A running process reads the shard again and again, and reports the trouble."""
    scene.owning(OTHER)
    scene.claiming()
    scene.read(7, log_with(b"no JSON"))
    assert scene.states[HOME] == "blocked"
    assert f"partition {HOME} offset 13" in scene.trouble
    (shard,) = [each for each in scene.coordinator.snapshot().shards if each.number == HOME]
    assert str(KEY) in scene.trouble
    assert shard.open_trouble is not None
    assert str(KEY) not in shard.open_trouble
    assert scene.coordinator.has_started
    is_released = scene.revoke()
    scene.tick()
    assert is_released()


def exactly_once_log(*more: Claim) -> CheckpointLog:
    """A claim of an owner with exactly once, and later ones."""
    log = CheckpointLog(COUNT)
    for offset, each in enumerate((claim(guarantee="exactly_once"), *more), 3):
        log.add(HOME, offset, 0, CLAIM_KEY, claims.encode(each))
    return log


def test_transactions_of_a_former_owner_are_fenced_and_the_shard_read_again(scene: Scene) -> None:
    """One that was paused could commit after the first reading; a crash before the second claim changes nothing."""
    scene.claiming()
    scene.read(7, exactly_once_log())
    assert (scene.states, scene.sessions.calls) == ({HOME: "fencing"}, [])
    assert "WRITE on the transactional ids" in scene.trouble
    assert not scene.reader.claims[-1].fenced
    ((lease, done),) = scene.fenced
    assert lease is scene.lease
    done()
    scene.tick()
    assert scene.reader.claims[-1].fenced
    scene.read(9, exactly_once_log(claim()))
    assert (scene.states, scene.trouble) == ({HOME: "owned"}, "")
    assert len(scene.fenced) == 1


def test_transactions_are_fenced_once_after_the_guarantee_was_changed(scene: Scene) -> None:
    """An owner between that did not get so far does not count; one that did does."""
    scene.claiming()
    scene.read(7, exactly_once_log(claim(), replace(claim(), fenced=True), claim()))
    assert (scene.states, scene.fenced) == ({HOME: "owned"}, [])


def only_claim_and(*others: tuple[bytes, bytes | None]) -> CheckpointLog:
    """The records of a shard of which compaction has kept only the newest claim, at least once."""
    log = CheckpointLog(COUNT)
    for offset, (key, value) in enumerate((*others, (CLAIM_KEY, claims.encode(claim()))), 3):
        log.add(HOME, offset, 0, key, value)
    return log


def test_transactions_are_fenced_although_compaction_has_removed_the_claim_with_exactly_once(scene: Scene) -> None:
    """An owner with at least once was killed before it fenced them. The record goes once the fencing is in a claim."""
    log = only_claim_and((EXACTLY_ONCE_KEY, EXACTLY_ONCE))
    scene.claiming()
    scene.read(7, log)
    assert scene.states == {HOME: "fencing"}
    assert scene.reader.puts == []
    scene.fenced[0][1]()
    scene.tick()
    scene.read(9, log)
    assert scene.states == {HOME: "owned"}
    assert scene.reader.puts == [(HOME, EXACTLY_ONCE_KEY, None)]


@pytest.mark.parametrize("before", [[], [(EXACTLY_ONCE_KEY, None)]])
def test_transactions_of_an_owner_with_at_least_once_need_no_fencing(
    scene: Scene, before: list[tuple[bytes, bytes | None]]
) -> None:
    """It needs permissions that such a namespace does not have."""
    scene.claiming()
    scene.read(7, only_claim_and(*before))
    assert (scene.states, scene.fenced, scene.reader.puts) == ({HOME: "owned"}, [], [])


@pytest.mark.parametrize("value", [claims.encode(claim(guarantee="")), b"of a newer version"])
def test_an_owner_that_does_not_say_its_guarantee_may_have_exactly_once(scene: Scene, value: bytes) -> None:
    scene.claiming()
    scene.read(7, only_claim_and((CLAIM_KEY, value)))
    assert scene.states == {HOME: "fencing"}


def test_no_transaction_begins_before_the_record_of_exactly_once_is_in_kafka(scene: Scene) -> None:
    """It is written before each claim; Kafka may have refused it."""
    scene.guarantee = "exactly_once"
    scene.claiming()
    assert scene.reader.puts == [(HOME, EXACTLY_ONCE_KEY, EXACTLY_ONCE)]
    scene.read(7)
    assert (scene.states, len(scene.reader.puts)) == ({HOME: "restoring"}, 2)
    scene.read(9, only_claim_and((EXACTLY_ONCE_KEY, EXACTLY_ONCE)))
    assert (scene.states, len(scene.reader.puts)) == ({HOME: "owned"}, 2)


def test_a_shard_contested_by_a_process_with_exactly_once_is_acquired_again(scene: Scene) -> None:
    """Its transactions must be fenced before sessions continue."""
    lease = scene.owning()
    scene.foreign(claims.encode(claim("other", guarantee="exactly_once")), key=CLAIM_KEY)
    scene.read(12, exactly_once_log())
    assert lease.is_over
    assert scene.lease is not lease
    scene.fence()
    scene.read(14, exactly_once_log())
    assert len(scene.fenced) == 1


def test_of_several_claims_under_way_the_newest_is_the_fencing_token() -> None:
    """Two threads report them, in any order."""
    lease = Lease(0, SoleOwner())
    for token in (7, 900, 70):
        lease.claimed(token)
    assert (lease.first_token, lease.fencing_token) == (7, 900)
    lease.topic_was_recreated()
    assert lease.fencing_token == 900
    lease.claimed(3)
    lease.claimed(5)
    assert (lease.first_token, lease.fencing_token) == (3, 5)


# Release


def test_a_shard_is_released_when_everything_of_it_is_delivered(scene: Scene) -> None:
    """Until then the group waits."""
    lease = scene.owning()
    scene.sessions.is_delivered = False
    is_released = scene.revoke()
    scene.tick()
    assert scene.states == {HOME: "leaving"}
    assert scene.delivery.flushed == [HOME]
    assert not is_released()
    assert not lease.is_over
    scene.sessions.is_delivered = True
    scene.tick()
    assert is_released()
    assert lease.is_over
    assert scene.states == {}
    assert scene.delivery.left == [HOME]
    assert scene.coordinator.left_undelivered == 0


def test_a_shard_that_is_not_delivered_in_time_is_released_without_a_last_checkpoint() -> None:
    """From then on nothing of it is handed to a producer."""
    scene = Scene(release_timeout=0.0)
    lease = scene.owning()
    scene.sessions.is_delivered = False
    is_released = scene.revoke()
    scene.tick()
    assert is_released()
    assert lease.is_over
    assert scene.coordinator.left_undelivered == 1


def test_a_reader_that_hangs_delays_the_release_for_a_third_of_the_time(scene: Scene) -> None:
    """By then the records of the others are delivered."""
    scene.owning()
    scene.sessions.readers_have_stopped = False
    scene.coordinator.stop(monotonic() + 60)
    scene.tick()
    assert scene.states == {HOME: "leaving"}
    scene.coordinator.stop(monotonic() + 0.0)
    scene.tick()
    assert scene.states == {}


@pytest.mark.parametrize("is_fenced", [False, True])
def test_a_shard_that_is_revoked_while_it_is_acquired_is_released_immediately(scene: Scene, *, is_fenced: bool) -> None:
    """The result of its restore comes too late, and is ignored."""
    scene.assign()
    if is_fenced:
        scene.fence()
    is_released = scene.revoke()
    scene.tick()
    assert is_released()
    assert scene.reader.forgotten == [HOME]
    if is_fenced:
        scene.read(9)
    assert scene.sessions.calls == [f"forget {HOME}"]


def test_an_abandoned_process_keeps_nobody_waiting(scene: Scene) -> None:
    """Everything ends, delivered or not."""
    lease = scene.owning()
    scene.sessions.is_delivered = False
    is_released = scene.revoke()
    scene.coordinator.leave(monotonic())
    scene.coordinator.leave(monotonic())
    assert lease.is_over
    assert is_released()
    assert scene.states == {}


# Lost, and assigned again


def test_a_lost_shard_hands_nothing_to_a_producer_and_is_read_on(scene: Scene) -> None:
    """Immediately, before the main thread knows; its sessions continue, into memory."""
    lease = scene.owning()
    scene.leases.lose(ONE)
    assert lease.is_suspended
    scene.tick()
    assert scene.states == {HOME: "suspended"}
    assert scene.sessions.calls == [f"acquire {HOME}"]
    assert "not a member of its group" in scene.trouble


def test_a_shard_that_no_other_process_owned_meanwhile_continues_from_memory(scene: Scene) -> None:
    """Kafka was away for longer than the session time-out: the streams are not touched because of that."""
    lease = scene.returning()
    assert scene.states == {HOME: "returning"}
    assert lease.is_suspended
    scene.read(15, log_with(claim_offsets=(3, 7)))
    assert scene.states == {HOME: "owned"}
    assert not lease.is_suspended
    assert lease.fencing_token == 15
    assert f"forget {HOME}" not in scene.sessions.calls
    assert scene.trouble == ""


def test_a_shard_that_another_process_owned_meanwhile_restarts(scene: Scene) -> None:
    """There is a claim behind ours: the other process may have numbered the events differently."""
    lease = scene.returning()
    scene.read(15, log_with(claim_offsets=(3, 7, 11)))
    assert lease.is_over
    assert scene.sessions.calls[-1] == f"forget {HOME}"
    assert scene.states == {HOME: "fencing"}
    new = scene.lease
    assert new is not lease
    scene.fence()
    scene.read(19)
    assert scene.states == {HOME: "owned"}
    scene.leases.lose(ONE)
    assert new.is_suspended


def test_a_shard_that_the_group_assigns_to_another_process_is_dropped(scene: Scene) -> None:
    """The first assignment after a loss shows it."""
    lease = scene.owning()
    scene.leases.lose(ONE)
    scene.leases.assign(NONE)
    assert lease.is_over
    scene.tick()
    assert scene.states == {}
    assert scene.sessions.calls[-1] == f"forget {HOME}"


def test_a_shard_that_is_lost_again_while_it_returns_may_return_again(scene: Scene) -> None:
    lease = scene.owning()
    for _ in range(2):
        scene.leases.lose(ONE)
        scene.assign()
    assert scene.states == {HOME: "returning"}
    assert lease.is_suspended
    scene.read(15, log_with(claim_offsets=[7]))
    assert scene.states == {HOME: "owned"}


def test_a_shard_that_is_lost_before_it_was_acquired_is_acquired_when_it_is_assigned_again(scene: Scene) -> None:
    """The main thread sees both only afterwards."""
    scene.leases.assign(ONE)
    scene.lose()
    assert scene.states == {}
    scene.assign()
    assert scene.states == {HOME: "fencing"}
    assert not scene.lease.is_suspended


def test_a_shard_that_is_lost_during_its_release_is_acquired_when_it_is_assigned_again(scene: Scene) -> None:
    """Whether the main thread notices the loss before the assignment or after it."""
    for is_late in (False, True):
        lease = scene.owning()
        scene.sessions.is_delivered = False
        is_released = scene.revoke()
        scene.tick()
        scene.leases.lose(ONE)
        assert lease.is_suspended
        if not is_late:
            scene.tick()
            assert lease.is_over
            assert is_released()
        scene.assign()
        assert scene.lease is not lease
        assert scene.states == {HOME: "fencing"}
        scene.lose()


def test_a_loss_that_is_noticed_after_the_return_suspends_the_lease_again(scene: Scene) -> None:
    """The lease was resumed between the loss and its event."""
    lease = scene.returning()
    shard, done = scene.reader.requests[-1]
    done(RestoredShard(shard, 15, None, log_with(claim_offsets=[7])))
    scene.lose()
    assert scene.states == {HOME: "suspended"}
    assert lease.is_suspended


def test_a_returning_shard_is_read_again_when_another_reading_replaced_its_own(scene: Scene) -> None:
    """There is one reading per shard at a time; the other one's claim is this process's too."""
    lease = scene.returning()
    lease.claimed(12)
    scene.leases.post(ShardEvent(HOME, lease, was_reclaimed=True))
    scene.tick()
    assert len(scene.reader.requests) == 3
    scene.read(15, log_with(claim_offsets=(7, 12)))
    assert scene.states == {HOME: "owned"}


def test_a_session_that_a_command_changed_meanwhile_restarts_there(scene: Scene) -> None:
    """The command found no owner."""
    scene.sessions.running.stale_keys.append(KEY)
    scene.returning()
    scene.read(15, log_with(encode(checkpoint(Position(8, 0, "1"))), claim_offsets=[7]))
    assert scene.sessions.calls[-1] == f"suspend {KEY}"
    scene.read(16, log_with(encode(checkpoint(Position(8, 0, "1"))), claim_offsets=[7, 15]))
    assert scene.sessions.calls[-1] == f"restart {HOME}"
    assert not scene.sessions.kept
    assert scene.sessions.restored[KEY].checkpoint.position == Position(8, 0, "1")


@pytest.mark.parametrize("is_delivered", [True, False])
def test_a_shutdown_does_not_wait_for_a_suspended_shard(scene: Scene, *, is_delivered: bool) -> None:
    """Undelivered records are read again later, and the exit code says so."""
    scene.owning()
    scene.lose()
    scene.sessions.is_delivered = is_delivered
    scene.coordinator.stop(monotonic() + 60)
    assert scene.states == {}
    assert scene.coordinator.left_undelivered == (0 if is_delivered else 1)


def test_events_of_a_former_lease_do_not_touch_the_next(scene: Scene) -> None:
    """A shard may move away and back before the main thread looks."""
    scene.owning()
    scene.leases.lose(ONE)
    scene.leases.assign(NONE)
    scene.assign()
    assert scene.states == {HOME: "fencing"}
    assert scene.sessions.calls == [f"acquire {HOME}", f"forget {HOME}"]


# Records of other processes


def test_a_foreign_checkpoint_restarts_its_session_behind_a_new_claim(scene: Scene) -> None:
    """The session stops first, and resumes from the stored checkpoint; the token shows that it was read."""
    lease = scene.owning()
    scene.foreign()
    assert scene.sessions.calls[-1] == f"suspend {KEY}"
    assert len(scene.reader.requests) == 2
    assert scene.states == {HOME: "owned"}
    scene.read(11, log_with(encode(checkpoint(Position(8, 0, "1")))))
    assert scene.sessions.calls[-1] == f"restart {HOME}"
    assert scene.sessions.restored[KEY].checkpoint.position == Position(8, 0, "1")
    assert lease.fencing_token == 11


def test_a_session_whose_memory_does_not_match_kafka_restarts_from_its_stored_checkpoint(scene: Scene) -> None:
    scene.owning()
    scene.sessions.restarting.append(KEY)
    scene.tick()
    scene.sessions.restarting.clear()
    assert scene.sessions.calls[-1] == f"suspend {KEY}"
    scene.read(11)
    assert scene.sessions.calls[-1] == f"restart {HOME}"


def test_a_shard_is_read_again_only_when_no_transaction_holds_records_of_the_session(scene: Scene) -> None:
    """Otherwise its last checkpoint would come after the claim, and the reading would miss it."""
    scene.owning()
    scene.sessions.running.is_out = False
    scene.foreign()
    assert scene.sessions.calls[-1] == f"suspend {KEY}"
    assert len(scene.reader.requests) == 1
    scene.sessions.running.is_out = True
    scene.tick()
    assert len(scene.reader.requests) == 2


def test_a_session_that_restarts_while_the_shard_is_read_waits_for_another_reading(scene: Scene) -> None:
    """Its transaction ends behind the claim of the first one: the same events would be committed again."""
    scene.owning()
    scene.foreign(key=OF_HOME.record_key)
    scene.sessions.running.is_out = False
    scene.sessions.restarting.append(KEY)
    scene.tick()
    scene.sessions.restarting.clear()
    scene.sessions.running.is_out = True
    scene.tick()
    assert len(scene.reader.requests) == 2
    scene.read(11)
    assert scene.sessions.calls[-1] == f"restart {HOME}"
    assert scene.sessions.kept == {KEY}
    assert len(scene.reader.requests) == 3
    scene.read(13)
    assert not scene.sessions.kept
    scene.tick()
    assert len(scene.reader.requests) == 3


def test_a_claim_that_is_found_while_the_shard_is_read_is_answered_too(scene: Scene) -> None:
    """Our own claim may be in front of it."""
    scene.owning()
    scene.foreign()
    scene.foreign(key=CLAIM_KEY)
    scene.tick()
    assert len(scene.reader.requests) == 2
    scene.read(11)
    assert len(scene.reader.requests) == 3


def test_a_session_in_a_transaction_stays_suspended_when_the_shard_is_assigned_again(scene: Scene) -> None:
    """Transactions continue while the owner is unknown: what was read does not show how this one ends."""
    scene.owning()
    scene.sessions.running.is_out = False
    scene.foreign()
    scene.leases.lose(ONE)
    scene.assign()
    scene.read(15, log_with(claim_offsets=[7]))
    assert scene.states == {HOME: "owned"}
    assert scene.sessions.kept == {KEY}
    scene.sessions.running.is_out = True
    scene.tick()
    scene.read(16, log_with(claim_offsets=[7, 15]))
    assert not scene.sessions.kept


def test_a_checkpoint_in_another_partition_than_its_own_suspends_no_session(scene: Scene) -> None:
    """Reading that shard again would never restart the session."""
    scene.owning(OTHER)
    scene.foreign(shard=OTHER)
    assert scene.sessions.calls == [f"acquire {OTHER}"]


def test_many_foreign_checkpoints_cost_one_reading(scene: Scene) -> None:
    """A process that resumes after a pause may write about a thousand sessions."""
    scene.owning()
    for offset in range(9, 20):
        scene.foreign(offset=offset)
    assert len(scene.reader.requests) == 2
    assert sum("suspend" in each for each in scene.sessions.calls) == 11


def test_a_stale_write_in_no_higher_epoch_does_not_touch_the_session(scene: Scene) -> None:
    """Ours is written again behind it, so that compaction cannot keep it. A higher epoch restarts the session."""
    scene.owning()
    scene.sessions.restored[KEY] = Restored(checkpoint(), is_stale=False)
    scene.sessions.running.keys.add(KEY)
    scene.foreign(encode(replace(checkpoint(), fencing_token=3)))
    assert scene.sessions.calls == [f"acquire {HOME}"]
    assert scene.delivery.written_again == [KEY]
    scene.foreign(encode(replace(checkpoint(Position(6, 0, "3")), fencing_token=3)), offset=10)
    assert scene.sessions.calls[-1] == f"suspend {KEY}"


def test_a_stale_write_for_a_session_that_is_not_known_is_answered_with_a_tombstone(scene: Scene) -> None:
    """It was forgotten: the next owner would revive it. If it comes back by itself, its epoch is higher."""
    lease = scene.owning()
    scene.foreign(encode(replace(checkpoint(Position(6, 0, "3")), fencing_token=3)))
    assert scene.reader.puts == [(HOME, KEY.record_key, None)]
    assert lease.highest_epoch == 6
    assert scene.sessions.calls == [f"acquire {HOME}", f"suspend {KEY}"], "the tombstone could remove its checkpoint"
    scene.read(11)
    assert scene.sessions.calls[2:] == [f"restart {HOME}"]
    scene.foreign(b"", offset=10)  # the reader reports the tombstone
    assert (len(scene.reader.puts), len(scene.reader.requests)) == (1, 2)


STALE = encode(replace(checkpoint(Position(6, 0, "3")), fencing_token=3))


def waiting_for_proof() -> tuple[Scene, Member]:
    """The owner of a shard whose membership is not proved at present."""
    scene, prover = Scene(), Member()
    scene.leases._prover = prover
    scene.owning()
    return scene, prover


def read_a_stale_write(scene: Scene, prover: Member) -> None:
    """The owner reads the shard again and finds a stale write, and its membership is not proved then."""
    scene.foreign(key=CLAIM_KEY)
    prover.proven_at = monotonic()
    scene.tick()
    prover.proven_at = 0.0
    scene.read(12, stale_log())


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_session_that_started_before_the_answer_gets_no_tombstone(*, has_ended: bool) -> None:
    """Its own checkpoint would be removed, and the next start would skip what the session has not read."""
    scene, prover = waiting_for_proof()
    scene.foreign(STALE)
    if has_ended:
        scene.sessions.restored[KEY] = Restored(checkpoint(Position(7, 0, "3")), is_stale=False)
    else:
        scene.sessions.running.keys.add(KEY)
    prover.proven_at = monotonic()
    scene.tick()
    assert scene.reader.puts == []
    assert scene.delivery.written_again == [KEY]
    assert (len(scene.reader.requests), scene.states) == (1, {HOME: "owned"})


def test_a_late_tombstone_of_a_former_owner_does_not_restart_the_session(scene: Scene) -> None:
    """It answers a stale write, and was sent before this owner's claim: the checkpoint is written again behind it."""
    scene.owning()
    scene.foreign(STALE)
    headers = dict(scene.reader.headers)
    scene.read(11)
    scene.sessions.running.keys.add(KEY)
    calls = list(scene.sessions.calls)
    stored = StoredRecord("checkpoints", HOME, 12, KEY.record_key, None, tuple(headers.items()), 0)
    scene.found(checkpoint_record(stored))
    assert scene.sessions.calls == calls
    assert scene.delivery.written_again == [KEY]


def test_a_late_tombstone_of_a_session_that_gave_up_its_place_is_answered(scene: Scene) -> None:
    """The shard is read again, which keeps the newer checkpoint; compaction would keep only the tombstone."""
    scene.owning()
    scene.sessions.restored[KEY] = Restored(checkpoint(), is_stale=False)
    scene.foreign(b"", forgotten_by=3)
    assert (scene.sessions.calls[-1], len(scene.reader.requests)) == (f"suspend {KEY}", 2)


def test_a_stale_session_that_started_before_the_answer_restarts_above_the_stale_epoch() -> None:
    """It runs in the epoch of its older checkpoint: an answer in a higher epoch would come from elsewhere."""
    scene, prover = waiting_for_proof()
    read_a_stale_write(scene, prover)
    scene.sessions.running.keys.add(KEY)
    prover.proven_at = monotonic()
    scene.tick()
    assert scene.reader.puts == []
    assert scene.sessions.calls[-1] == f"suspend {KEY}"
    scene.read(14, stale_log())
    assert scene.sessions.calls[-1] == f"restart {HOME}"
    assert scene.sessions.restored[KEY].is_stale, "its worker starts a new epoch"


def test_no_stale_session_starts_before_its_answer_was_read() -> None:
    """It would start from the older checkpoint, perhaps while the answer waits for the proof."""
    scene, prover = waiting_for_proof()
    read_a_stale_write(scene, prover)
    assert scene.reader.puts == []
    assert scene.sessions.calls[-1] == f"suspend {KEY}"


@pytest.mark.parametrize("is_running", [True, False])
def test_an_own_checkpoint_that_landed_late_is_answered(scene: Scene, *, is_running: bool) -> None:
    """A former producer of this process wrote it, in an epoch consumers have passed: a next owner would start there."""
    scene.owning()
    scene.sessions.restored[KEY] = Restored(checkpoint(), is_stale=False)
    scene.sessions.running.keys |= {KEY} if is_running else set()
    value = encode(replace(checkpoint(Position(4, 100, "3")), fencing_token=7))
    scene.found(CheckpointRecord(HOME, 9, 0, KEY.record_key, value, is_own=True))
    assert scene.delivery.written_again == [KEY] * is_running
    assert scene.sessions.calls[1:] == [f"suspend {KEY}"] * (not is_running)
    assert len(scene.reader.requests) == 1 + (not is_running)


def stale_log(*more: bytes) -> CheckpointLog:
    """A stale write behind a claim that knew epoch 20, and what was written later."""
    log = CheckpointLog(COUNT)
    log.add(HOME, 6, 0, CLAIM_KEY, claims.encode(replace(claim(), epoch=20)))
    for offset, value in enumerate((encode(replace(checkpoint(), fencing_token=3)), *more), 7):
        log.add(HOME, offset, 0, KEY.record_key, value)
    return log


def test_a_stale_session_gets_a_new_epoch_before_the_shard_is_owned(scene: Scene) -> None:
    """Above all known ones, also if it never runs here: compaction could leave only the stale write."""
    scene.claiming()
    scene.read(8, stale_log())
    assert (scene.states, scene.sessions.calls) == ({HOME: "restoring"}, [f"suspend {KEY}"])
    ((shard, key, value),) = scene.reader.puts
    answer = decode(KEY.record_key, value or b"")
    assert (shard, key, answer.fencing_token) == (HOME, KEY.record_key, 8)
    assert answer.position.epoch > 20
    assert answer.position[1:] == (0, POSITION.last_event_id)
    assert len(scene.reader.requests) == 2
    assert scene.reader.claims[-1].epoch == 20
    scene.read(10, stale_log(value or b""))
    assert scene.states == {HOME: "owned"}
    assert scene.sessions.restored[KEY].is_stale, "its worker announces why a new epoch starts"
    assert len(scene.reader.puts) == 1


def test_a_stale_session_is_not_answered_before_a_proof_of_membership() -> None:
    """Two processes that both believe to own the shard would answer each other for ever."""
    scene = Scene()
    prover = Member()
    scene.leases = scene.coordinator.collaborators.leases
    scene.leases._prover = prover
    scene.claiming()
    scene.read(8, stale_log())
    assert scene.reader.puts == []
    prover.proven_at = monotonic()
    scene.tick()
    assert len(scene.reader.puts) == 1


class Member(SoleOwner):
    """A prover without a proof."""

    proven_at = 0.0


def test_a_damaged_record_does_not_lift_the_epochs_of_a_whole_shard() -> None:
    """There are ten digits, and each new epoch is above the highest one."""
    lease = Lease(0, SoleOwner())
    lease.know_epoch(20)
    lease.know_epoch(9_999_999_998)
    assert lease.highest_epoch == 20


def test_a_damaged_epoch_in_a_claim_is_not_handed_on(scene: Scene) -> None:
    """Nor is the shard read again and again because of it."""
    log = CheckpointLog(COUNT)
    log.add(HOME, 6, 0, CLAIM_KEY, claims.encode(replace(claim(), epoch=9_999_999_998)))
    scene.claiming()
    scene.read(7, log)
    assert scene.states == {HOME: "owned"}
    assert len(scene.reader.claims) == 1


def test_the_highest_epoch_is_handed_on_when_no_checkpoint_has_it(scene: Scene) -> None:
    """By a second claim: the first one was written before the shard was read."""
    now = unix_ms() // 1000
    log = CheckpointLog(COUNT)
    log.add(HOME, 6, 0, CLAIM_KEY, claims.encode(replace(claim(), epoch=now)))
    scene.claiming()
    scene.read(7, log)
    assert [each.epoch for each in scene.reader.claims] == [0, now]
    assert scene.states == {HOME: "restoring"}
    scene.read(8, log)
    assert scene.states == {HOME: "owned"}
    assert scene.lease.highest_epoch == now


def test_a_foreign_claim_is_answered_by_another_one_once_membership_is_proven(scene: Scene) -> None:
    """Behind it our own checkpoints would look stale. The group decides who owns the shard; no session is touched."""
    lease = scene.owning()
    scene.foreign(key=CLAIM_KEY)
    scene.tick()
    assert len(scene.reader.requests) == 2
    scene.read(12)
    assert lease.fencing_token == 12
    assert scene.sessions.calls == [f"acquire {HOME}", f"restart {HOME}"]


def test_a_recreated_topic_is_claimed_again(scene: Scene) -> None:
    """Also while the shard is being read again; its tokens start again."""
    lease = scene.owning()
    for token in (2, 1):
        scene.leases.post(ShardEvent(HOME, topic_was_recreated=True))
        scene.tick()
        assert scene.states == {HOME: "owned"}
        scene.read(token)
        assert (lease.first_token, lease.fencing_token) == (token, token)
    assert len(scene.reader.requests) == 3


def test_a_shard_lost_during_shutdown_counts_as_undelivered() -> None:
    """Kafka is away, and the group session times out before the records are delivered: that is no success."""
    scene = Scene()
    scene.owning()
    scene.sessions.is_delivered = False
    scene.coordinator.stop(monotonic() + 60)
    scene.lose()
    assert scene.states == {}
    assert scene.coordinator.left_undelivered == 1


def test_a_reading_that_ends_after_another_loss_proves_no_ownership() -> None:
    """Another process claimed at 9. The answer to our claim at 15 arrives when the shard is lost again."""
    scene = Scene()
    lease = scene.owning()
    scene.leases.lose(ONE)
    scene.assign()
    _, done = scene.reader.requests[-1]
    scene.leases.lose(ONE)
    done(RestoredShard(HOME, 15, None, log_with(claim_offsets=[7, 9])))
    scene.tick()
    scene.assign()
    scene.read(20, log_with(claim_offsets=[7, 9, 15]))
    assert lease.is_over


def test_a_reading_that_ends_after_another_loss_and_another_return_proves_no_ownership(scene: Scene) -> None:
    """Another process claimed at 20, behind our claim at 15, and its answer arrives when the shard is back again."""
    lease = scene.returning()
    _, done = scene.reader.requests[-1]
    scene.leases.lose(ONE)
    scene.assign()
    done(RestoredShard(HOME, 15, None, log_with(claim_offsets=[7])))
    scene.tick()
    assert scene.states == {HOME: "returning"}
    assert lease.is_suspended
    scene.read(25, log_with(claim_offsets=[7, 15, 20]))
    assert lease.is_over


def test_the_time_until_a_shard_is_owned_is_counted(scene: Scene) -> None:
    """Once for each shard that is acquired; the assignments are counted too."""
    assert scene.coordinator.snapshot().assignments == 0
    scene.assign()
    assert scene.restore_duration.snapshot().count == 0
    scene.fence()
    scene.read(7)
    assert scene.states[HOME] == "owned"
    assert scene.restore_duration.snapshot().count == 1
    assert scene.coordinator.snapshot().assignments == 1
    scene.leases.lose(ONE)
    scene.assign()
    assert scene.coordinator.snapshot().assignments == 2


@pytest.mark.parametrize("has_left", [True, False])
def test_a_membership_that_does_not_end_is_not_waited_for(scene: Scene, *, has_left: bool) -> None:
    """Kafka does not answer: the process ends all the same, and the group notices later."""
    membership = cast("fakes.Membership", scene.coordinator._membership)
    scene.coordinator.close(monotonic(), has_left=has_left)
    assert membership.is_aborted is not has_left
