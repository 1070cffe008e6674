"""Who may join a group: no second process of one name, no stranger, and a restart without delay."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import pytest

from bridge.core.records.member_metadata import MemberMetadata
from bridge.errors import SettingsError
from bridge.kafka.group import GroupSeen, MemberSeen
from bridge.sharding.duplicates import STILL, DuplicateInstance, foreign, strangers
from bridge.sharding.process_identity import is_dead, this_process

SESSION = 6.0
TOPIC = "ns.checkpoints"
OLD = MemberMetadata("pod-1:7", "pod-1", "run-a", "f1", "0.5", heartbeat=40)


def member(*shards: int, instance: str | None = "pod-1", topic: str = TOPIC) -> MemberSeen:
    member_id = f"{instance or 'mix-bridge'}-{uuid.uuid4()}"
    return MemberSeen(member_id, "10.0.0.7", frozenset(shards), frozenset({topic}))


def group(*members: MemberSeen, is_stable: bool = True) -> GroupSeen:
    return GroupSeen(members, is_stable)


def newcomer(*dead: str) -> DuplicateInstance:
    return DuplicateInstance("pod-1", SESSION, 0.0, lambda run: run in dead)


@pytest.mark.parametrize("company", [(), (member(0, instance=None),), (member(0, instance="pod-2"),)])
def test_a_name_nobody_bears_is_free(company: tuple[MemberSeen, ...]) -> None:
    assert newcomer().is_gone(group(*company), {0: OLD}, 0.0)


def test_a_beat_that_moves_belongs_to_a_living_process() -> None:
    """It is named, with where it is, and no second look is needed."""
    duplicate = newcomer()
    assert not duplicate.is_gone(group(member(0, 1)), {0: OLD, 1: OLD}, 0.0)
    with pytest.raises(SettingsError, match=r"pod-1:7 at 10\.0\.0\.7 runs under the name pod-1:") as raised:
        duplicate.is_gone(group(member(0, 1)), {0: OLD, 1: OLD.at(41)}, 0.5)
    assert [mistake.key for mistake in raised.value.mistakes] == ["instance"]


def test_a_beat_that_stands_still_belongs_to_a_dead_one() -> None:
    duplicate = newcomer()
    assert not duplicate.is_gone(group(member(0)), {0: OLD}, 0.0)
    assert not duplicate.is_gone(group(member(0)), {0: OLD}, STILL - 0.1)
    assert duplicate.is_gone(group(member(0)), {0: OLD}, STILL)


def test_after_an_orderly_stop_nothing_is_waited_for() -> None:
    assert newcomer().is_gone(group(member(0)), {0: OLD.at(41, has_left=True)}, 0.0)


def test_a_former_self_that_the_kernel_knows_to_be_dead_is_not_waited_for() -> None:
    assert newcomer("run-a").is_gone(group(member(0)), {0: OLD}, 0.0)


def test_who_leaves_during_the_look_is_gone() -> None:
    duplicate = newcomer()
    assert not duplicate.is_gone(group(member(0)), {0: OLD}, 0.0)
    assert duplicate.is_gone(group(member(0)), {0: OLD.at(41, has_left=True)}, 0.5)


def test_between_two_assignments_even_a_living_one_is_silent() -> None:
    """So silence counts only once the coordinator's own clock has run out."""
    duplicate = newcomer()
    unsettled = group(member(0), is_stable=False)
    assert not duplicate.is_gone(unsettled, {0: OLD}, 0.0)
    assert not duplicate.is_gone(unsettled, {0: OLD}, SESSION)
    assert duplicate.is_gone(unsettled, {0: OLD}, SESSION + 1.0)


def test_one_without_shards_lives_when_the_group_keeps_it_beyond_the_session_timeout() -> None:
    """It has no book to write into; and an old word in the book of a shard that is another's says nothing."""
    duplicate = newcomer("run-a")
    assert not duplicate.is_gone(group(member()), {0: OLD}, SESSION)
    with pytest.raises(SettingsError, match="pod-1"):
        duplicate.is_gone(group(member()), {0: OLD}, SESSION + 1.0)


@pytest.mark.parametrize(("name", "is_it"), [("pod-1", True), ("pod", False), ("pod-1-", False), ("pod-11", False)])
def test_a_member_is_known_by_the_name_in_its_id(name: str, is_it: bool) -> None:  # noqa: FBT001 - a table
    assert member().is_named(name) is is_it


def test_without_a_list_of_members_the_badges_alone_tell() -> None:
    """As with a broker of a cluster away, which makes the whole list fail."""
    assert newcomer().is_gone(None, {}, 0.0)
    assert newcomer().is_gone(None, {0: OLD.at(41, has_left=True)}, 0.0)
    duplicate = newcomer()
    assert not duplicate.is_gone(None, {0: OLD}, 0.0)
    with pytest.raises(SettingsError, match="pod-1:7"):
        duplicate.is_gone(None, {0: OLD.at(41)}, 0.5)
    duplicate = newcomer()
    assert not duplicate.is_gone(None, {0: OLD}, 0.0)
    assert duplicate.is_gone(None, {0: OLD}, STILL)


def test_members_that_share_another_topic_are_strangers() -> None:
    """But for a dead former self, which was started with other settings."""
    other = member(0, topic="other.checkpoints")
    assert strangers(group(member(1), other), TOPIC, None) == {"other.checkpoints"}
    assert strangers(group(member(1), other), TOPIC, "pod-1") == frozenset()
    assert strangers(group(member(0), member()), TOPIC, None) == frozenset()
    assert strangers(group(), TOPIC, None) == frozenset()


def test_strangers_are_told_with_the_setting_to_change() -> None:
    error = foreign("ns.bridge", ["other.checkpoints"], TOPIC)
    assert [mistake.key for mistake in error.mistakes] == ["namespace"]
    assert all(name in str(error) for name in ("ns.bridge", "other.checkpoints", TOPIC))


def test_a_process_is_dead_once_it_is_gone_and_not_before() -> None:
    """Told by boot, process id and start, so that a new process under an old id is not taken for it."""
    ask = "from bridge.sharding.process_identity import this_process; print(this_process(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", ask], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        run = other.stdout.readline().strip()
        assert not is_dead(run)
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet reaped
        assert is_dead(run)
    assert is_dead(run)
    mine = this_process()
    assert not is_dead(mine)
    assert is_dead(f"{mine}1")


@pytest.mark.parametrize("run", ["", "4711", "another-boot/1/2/3", "a/b/c/d", "////"])
def test_nothing_is_known_of_processes_elsewhere(run: str) -> None:
    assert not is_dead(run)
