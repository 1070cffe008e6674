"""Sessions that ended long ago are forgotten: the epoch first, then the tombstones, and only by the shard's owner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from bridge.core.checkpoint_log import CheckpointLog
from bridge.core.identity import SessionKey
from bridge.core.owner_records import FORGOTTEN_KEY, encode_forgotten
from bridge.daemon.forgetting import Forgetting
from bridge.daemon.restored_checkpoints import EndedSession, RestoredCheckpoints
from bridge.daemon.running_sessions import RunningSessions
from bridge.daemon.shard_sessions import ShardSessions
from bridge.delivery.lease import Lease
from bridge.settings import ServerSettings
from bridge.sharding.claims import ForgetWriter
from tests.fakes.checkpoints import restored

KEY, OTHER = SessionKey("local", "a"), SessionKey("local", "b")
SERVERS = {"local": ServerSettings.model_validate({"url": "http://localhost", "forget_after": "1h"})}


class Prover:
    """The group always accepts this process, or never."""

    def __init__(self) -> None:
        self.accepts = True

    @property
    def proven_at(self) -> float:
        return float("inf") if self.accepts else float("-inf")

    def ask(self) -> None:
        """Do nothing."""

    def prove(self, asked_at: float, stopped: Callable[[], bool]) -> bool:  # noqa: ARG002 - the protocol's
        return self.accepts


class Writer:
    """Keeps the records; the test acknowledges them."""

    def __init__(self) -> None:
        self.floors: list[tuple[int, int, int]] = []
        self.removed: list[SessionKey] = []
        self.reports: list[Callable[[], None]] = []

    def write_floor(self, shard: int, epoch: int, token: int, written: Callable[[], None]) -> None:
        self.floors.append((shard, epoch, token))
        self.reports.append(written)

    def remove(self, _shard: int, record_key: bytes, _token: int, written: Callable[[], None]) -> None:
        self.removed.append(SessionKey(*record_key.decode().split("/")))
        self.reports.append(written)

    def poll(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def acknowledge(self) -> None:
        """Run all reports."""
        reports, self.reports = self.reports, []
        for report in reports:
            report()


class Scene:
    """One shard with two sessions that ended in 1970."""

    def __init__(self, servers: Mapping[str, ServerSettings] = SERVERS) -> None:
        self.now = 1000.0
        self.prover, self.writer, self.wanted = Prover(), Writer(), set[SessionKey]()
        self.lease = Lease(0, self.prover)
        self.lease.claimed(5)
        delivery: Any = SimpleNamespace()
        self.shards = ShardSessions(1, delivery, RunningSessions(["local"]), RestoredCheckpoints(servers))
        self.shards.acquire(self.lease, {KEY: restored("a", epoch=70), OTHER: restored("b", epoch=90)})
        writer = cast("ForgetWriter", self.writer)
        self.forgetting = Forgetting(servers, self.shards, self.is_over, writer, lambda: self.now)

    def is_over(self, key: SessionKey) -> bool:
        """Whether nothing wants it."""
        return key not in self.wanted

    def tick(self) -> None:
        """Let some minutes pass, and all steps that are due then."""
        self.now += 601.0
        for _ in range(4):
            self.forgetting.tick()


def test_the_highest_epoch_is_in_kafka_before_the_first_tombstone() -> None:
    """A kill in between leaves the checkpoints; a kill after some tombstones leaves the epoch."""
    scene = Scene()
    scene.tick()
    assert scene.writer.floors == [(0, 90, 5)]
    assert scene.writer.removed == []
    assert scene.lease.epoch_floor == 0
    assert scene.shards.lease_to_start(KEY) is None, "its new checkpoint could be removed by the tombstone"
    scene.writer.acknowledge()
    scene.forgetting.tick()
    assert {*scene.writer.removed} == {KEY, OTHER}
    assert scene.shards.checkpoints.get(KEY) is not None
    scene.writer.acknowledge()
    scene.forgetting.tick()
    assert scene.shards.checkpoints.get(KEY) is None
    assert scene.lease.epoch_floor == 90
    assert scene.shards.lease_to_start(KEY) is scene.lease
    assert scene.forgetting.forgotten == 2


def test_a_session_that_is_wanted_is_not_forgotten() -> None:
    """It would start again from the beginning of its stream. ``none``: never."""
    scene = Scene()
    scene.wanted = {KEY, OTHER}
    scene.tick()
    assert scene.writer.floors == []
    scene = Scene({"local": ServerSettings.model_validate({"url": "http://localhost", "forget_after": "none"})})
    scene.tick()
    assert scene.writer.floors == []


def test_only_the_proven_owner_writes() -> None:
    """A former owner's tombstone could remove the checkpoint of a session that returned elsewhere."""
    scene = Scene()
    scene.prover.accepts = False
    scene.tick()
    assert scene.writer.floors == []
    scene.prover.accepts = True
    scene.forgetting.tick()
    scene.prover.accepts = False
    scene.writer.acknowledge()
    scene.forgetting.tick()
    assert scene.writer.removed == []
    scene.lease.revoke()
    scene.forgetting.tick()
    assert scene.shards.forgetting == set()
    assert scene.shards.checkpoints.get(KEY) is not None


def test_sessions_that_kafka_does_not_remove_are_tried_again() -> None:
    """They may start meanwhile: their checkpoint is still there."""
    scene = Scene()
    scene.tick()
    scene.writer.acknowledge()
    scene.forgetting.tick()
    scene.now += 61.0
    scene.forgetting.tick()
    assert scene.shards.forgetting == set()
    assert scene.shards.checkpoints.get(KEY) is not None
    scene.writer.removed.clear()
    scene.tick()
    assert {*scene.writer.removed} == {KEY, OTHER}


def test_a_lost_epoch_is_written_again() -> None:
    """The topic was created again, or a former owner wrote a lower one behind it."""
    scene = Scene()
    scene.lease.epoch_floor = 90
    scene.shards.rewrite_floor(0)
    scene.forgetting.tick()
    assert scene.writer.floors == [(0, 90, 5)]


def test_the_highest_epoch_of_all_records_is_restored() -> None:
    """A stale owner may have written a lower one last."""
    log = CheckpointLog(1)
    for offset, epoch in enumerate((70, 90, 80)):
        log.add(0, offset, 0, FORGOTTEN_KEY, encode_forgotten(epoch, 1))
    log.add(0, 3, 0, FORGOTTEN_KEY, b"no JSON")
    assert log.owners.forgotten_epoch(0) == 90
    assert log.owners.forgotten_epoch(1) == 0


def test_a_session_that_waits_for_an_answer_starts_after_it_was_read() -> None:
    """Otherwise its first checkpoint could be in front of the tombstone. Another lease of the shard starts it too."""
    scene = Scene()
    scene.shards.suspend(KEY)
    assert scene.shards.lease_to_start(KEY) is None
    scene.shards.restart_suspended(0, {})
    assert scene.shards.lease_to_start(KEY) is scene.lease
    assert scene.shards.checkpoints.get(KEY) is None
    scene.shards.suspend(KEY)
    scene.shards.acquire(scene.lease, {})
    assert scene.shards.lease_to_start(KEY) is scene.lease


@given(st.lists(st.tuples(st.text(min_size=1, max_size=5), st.booleans(), st.booleans()), max_size=8))
def test_a_packed_checkpoint_is_restored_as_it_was(sessions: list[tuple[str, bool, bool]]) -> None:
    """With any id; by key, and removed with its shard."""
    known = {
        each.checkpoint.key: each
        for name, has_ended, is_stale in sessions
        for each in [restored(name, "ended" if has_ended else "active", is_stale=is_stale)]
    }
    checkpoints = RestoredCheckpoints({})
    checkpoints.add_shard(3, known)
    assert {key: checkpoints.get(key) for key in known} == known
    assert all(key in checkpoints for key in known)
    active = {each.checkpoint.key.session_id for each in known.values() if each.checkpoint.state == "active"}
    assert {*checkpoints.unfinished("local")} == active
    ended = {each.key for each in checkpoints.ended()}
    assert ended == {key for key, each in known.items() if each.checkpoint.state == "ended"}
    checkpoints.remove_shard(3)
    assert not any(key in checkpoints for key in known)


def test_a_session_that_ends_or_returns_has_one_checkpoint() -> None:
    """It moves between the two tables, and each change is seen."""
    checkpoints = RestoredCheckpoints({})
    key = SessionKey("local", "a")
    checkpoints.put(0, key, restored("a", "active"))
    version = checkpoints.version
    assert checkpoints.unfinished("local") == ["a"]
    checkpoints.put(0, key, restored("a", "ended", epoch=2000))
    assert checkpoints.unfinished("local") == []
    assert [*checkpoints.ended()] == [EndedSession(0, key, 2000, 5000)]
    checkpoints.put(0, key, None)
    assert checkpoints.get(key) is None
    assert checkpoints.version > version
