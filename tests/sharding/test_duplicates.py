"""Which process may join a group: no duplicate instance, no foreign consumer, and a restart without delay."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from dataclasses import replace

import pytest

from bridge.core.records.member_metadata import MemberMetadata
from bridge.errors import SettingsError
from bridge.kafka.group import GroupDescription, GroupMember
from bridge.kafka.group_consumer import GroupSettings
from bridge.sharding.join_check import SILENCE, DuplicateInstance, foreign, foreign_topics
from bridge.sharding.replica import is_dead, this_process

SESSION = 6.0
REBALANCE = 90.0
OWN = "this process"
TOPIC = "ns.checkpoints"
OLD = MemberMetadata("pod-1:7", "pod-1", "run-a", "f1", "0.5", heartbeat=40)


def member(*shards: int, instance: str | None = "pod-1", topic: str = TOPIC) -> GroupMember:
    member_id = f"{instance or 'mix-bridge'}-{uuid.uuid4()}"
    return GroupMember(member_id, "10.0.0.7", frozenset(shards), frozenset({topic}))


def group(*members: GroupMember, is_stable: bool = True) -> GroupDescription:
    return GroupDescription(members, is_stable)


def joining(*dead: str) -> DuplicateInstance:
    of = GroupSettings({}, "ns.bridge", TOPIC, 4, "pod-1", SESSION)
    return DuplicateInstance(of, "pod-1", OWN, 0.0, lambda run: run in dead)


@pytest.mark.parametrize("others", [(), (member(0, instance=None),), (member(0, instance="pod-2"),)])
def test_an_unused_name_is_free(others: tuple[GroupMember, ...]) -> None:
    assert joining().is_gone(group(*others), {0: OLD}, 0.0)


def test_a_heartbeat_that_changes_belongs_to_a_live_process() -> None:
    """The error names it and its host."""
    duplicate = joining()
    assert not duplicate.is_gone(group(member(0, 1)), {0: OLD, 1: OLD}, 0.0)
    with pytest.raises(SettingsError, match=r"pod-1:7 at 10\.0\.0\.7 runs under the name pod-1:") as raised:
        duplicate.is_gone(group(member(0, 1)), {0: OLD, 1: OLD.at(41)}, 0.5)
    assert [mistake.key for mistake in raised.value.mistakes] == ["instance"]


ONE, REBALANCING = group(member(0)), group(member(0), is_stable=False)
LEFT, OWNED = OLD.at(41, has_left=True), replace(OLD, run=OWN)
COMMITTED_LATE = OWNED.at(41)


@pytest.mark.parametrize(
    ("dead", "looks"),
    [
        # A heartbeat that does not change belongs to a dead process.
        ("", [(ONE, OLD, 0.0, False), (ONE, OLD, SILENCE - 0.1, False), (ONE, OLD, SILENCE, True)]),
        # After a graceful shutdown, also one during the check, nobody waits.
        ("", [(ONE, LEFT, 0.0, True)]),
        ("", [(ONE, OLD, 0.0, False), (ONE, LEFT, 0.5, True)]),
        # Nor for a process that the kernel knows to be dead.
        ("run-a", [(ONE, OLD, 0.0, True)]),
        # During a rebalance a live process may be silent: only the coordinator's own time-out counts.
        ("", [(REBALANCING, OLD, at, at > REBALANCE) for at in (0.0, REBALANCE, REBALANCE + 1.0)]),
        # It joins again with a new client, after its earlier one was fenced: a late commit is no duplicate.
        ("", [(ONE, OWNED, 0.0, False), (ONE, COMMITTED_LATE, 0.5, False), (ONE, COMMITTED_LATE, SILENCE, True)]),
        # Without a list of members (one missing broker makes it fail) the committed metadata decides.
        ("", [(None, LEFT, 0.0, True)]),
        ("", [(None, OLD, 0.0, False), (None, OLD, SILENCE, True)]),
    ],
)
def test_a_name_is_free_once_its_process_is_known_to_be_gone(
    dead: str, looks: list[tuple[GroupDescription | None, MemberMetadata, float, bool]]
) -> None:
    """A restart waits no longer than it takes to know that."""
    duplicate = joining(dead)
    for of, metadata, now, is_gone in looks:
        assert duplicate.is_gone(of, {0: metadata}, now) is is_gone


def test_a_dead_member_that_waits_for_a_rebalance_is_no_duplicate() -> None:
    """The coordinator keeps it until the others have joined, and then for the session time-out."""
    duplicate = joining()
    for now in (0.0, SESSION + 2.0, 30.0):
        assert not duplicate.is_gone(group(member(), is_stable=False), {}, now)
    assert not duplicate.is_gone(group(member()), {}, 30.0 + SESSION)
    assert duplicate.is_gone(group(), {}, 30.0 + SESSION + 1.0)


def test_a_member_without_shards_is_alive_when_the_group_keeps_it_beyond_the_session_timeout() -> None:
    """It commits no metadata; and old metadata of a shard that belongs to another member proves nothing."""
    duplicate = joining("run-a")
    assert not duplicate.is_gone(group(member()), {0: OLD}, SESSION)
    with pytest.raises(SettingsError, match="pod-1"):
        duplicate.is_gone(group(member()), {0: OLD}, SESSION + 1.0)


@pytest.mark.parametrize(("name", "is_it"), [("pod-1", True), ("pod", False), ("pod-1-", False), ("pod-11", False)])
def test_a_member_is_recognised_by_the_name_in_its_id(name: str, is_it: bool) -> None:  # noqa: FBT001 - a table
    assert member().is_named(name) is is_it


def test_without_a_list_of_members_the_committed_metadata_decides() -> None:
    """One missing broker of a cluster makes the whole list fail."""
    assert joining().is_gone(None, {}, 0.0)
    duplicate = joining()
    assert not duplicate.is_gone(None, {0: OLD}, 0.0)
    with pytest.raises(SettingsError, match="pod-1:7"):
        duplicate.is_gone(None, {0: OLD.at(41)}, 0.5)


def test_members_that_share_another_topic_are_foreign() -> None:
    """Except a former process of the same name, which was started with other settings."""
    other = member(0, topic="other.checkpoints")
    assert foreign_topics(group(member(1), other), TOPIC, None) == {"other.checkpoints"}
    assert foreign_topics(group(member(1), other), TOPIC, "pod-1") == frozenset()
    assert foreign_topics(group(member(0), member()), TOPIC, None) == frozenset()
    assert foreign_topics(group(), TOPIC, None) == frozenset()


def test_the_error_about_foreign_members_names_the_setting() -> None:
    error = foreign("ns.bridge", ["other.checkpoints"], TOPIC)
    assert [mistake.key for mistake in error.mistakes] == ["namespace"]
    assert all(name in str(error) for name in ("ns.bridge", "other.checkpoints", TOPIC))


def test_a_process_is_dead_once_it_is_gone_and_not_before() -> None:
    """Its identity has the boot, the process id and the start time: a later process with the same id differs."""
    ask = "from bridge.sharding.replica import this_process; print(this_process(), flush=True); input()"
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
    own = this_process()
    assert not is_dead(own)
    assert is_dead(f"{own}1")


@pytest.mark.parametrize("run", ["", "4711", "another-boot/1/2/3", "a/b/c/d", "////"])
def test_nothing_is_known_of_processes_elsewhere(run: str) -> None:
    assert not is_dead(run)
