"""Which replica ends when two have different guarantees, and which owners of shards are live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from bridge.core.records.member_metadata import MemberMetadata, decode, encode
from bridge.errors import EXIT_SETTINGS, Unreachable
from bridge.kafka.group import GroupDescription, GroupMember
from bridge.sharding.join_check import GRACE, SILENCE, GuaranteeCheck, earlier_with_other, mixed
from bridge.sharding.replica import ReplicaRegistry

SESSION = 6.0
OTHER = MemberMetadata("pod-1:7", "pod-1", "run-a", "f1", "0.5", 40, guarantee="at_least_once", since_ms=10)
OWN = MemberMetadata("pod-2:7", "pod-2", "run-b", "f1", "0.5", guarantee="exactly_once", since_ms=20)


def check(*dead: str) -> GuaranteeCheck:
    return GuaranteeCheck("exactly_once", SESSION, 0.0, lambda run: run in dead)


def group(*shards: int, is_stable: bool = True) -> GroupDescription:
    """One member with these shards."""
    return GroupDescription((GroupMember("m", "10.0.0.7", frozenset(shards)),), is_stable)


def test_a_live_member_with_another_guarantee_is_found() -> None:
    """Its heartbeat changes."""
    one = check()
    assert one.find(group(0), {0: OTHER}, 0.0) is False
    assert one.find(group(0), {0: OTHER.at(41)}, 0.5) == OTHER.at(41)


@pytest.mark.parametrize(
    "member", [replace(OTHER, guarantee="exactly_once"), replace(OTHER, guarantee=""), replace(OTHER, has_left=True)]
)
def test_other_members_do_not_keep_it_from_joining(member: MemberMetadata) -> None:
    """With the same guarantee, of a version that does not say, or one that has left."""
    one = check()
    assert one.find(group(0), {0: member}, 0.0) is True
    assert one.find(group(0), {0: replace(member, heartbeat=41)}, 0.5) is True


def test_a_dead_member_does_not_keep_it_from_joining() -> None:
    """One that the kernel knows to be dead, one that is silent, and the metadata of a shard without an owner."""
    assert check("run-a").find(group(0), {0: OTHER}, 0.0) is True
    assert check().find(group(0), {0: OTHER}, SILENCE) is True
    assert check().find(group(1), {0: OTHER}, 0.0) is True
    assert check().find(GroupDescription(), {0: OTHER}, 0.0) is True


def test_during_a_rebalance_a_live_member_may_be_silent() -> None:
    """So silence counts only after the coordinator's own time-out."""
    assert check().find(group(is_stable=False), {0: OTHER}, SESSION) is False
    assert check().find(group(is_stable=False), {0: OTHER}, SESSION + GRACE) is True


def test_without_a_list_of_members_the_heartbeat_decides() -> None:
    assert check().find(None, {0: OTHER}, 0.0) is False
    assert check().find(None, {0: OTHER}, SILENCE) is True


def test_the_one_that_has_been_there_longest_continues() -> None:
    """Of two that joined without seeing each other; one without shards has nothing to lose."""
    assert earlier_with_other(OWN, [OTHER, OWN], owns_shards=True) == OTHER
    assert earlier_with_other(OTHER, [OTHER, OWN], owns_shards=True) is None
    assert earlier_with_other(OTHER, [OWN], owns_shards=False) == OWN
    third = replace(OTHER, run="run-c", since_ms=30)
    assert earlier_with_other(third, [OTHER, OWN, third], owns_shards=True) is None
    same_time = replace(OWN, since_ms=10)
    ends = [earlier_with_other(one, [OTHER, same_time], owns_shards=True) for one in (OTHER, same_time)]
    assert ends == [None, OTHER]


def test_the_error_names_both_guarantees_the_namespace_and_the_procedure() -> None:
    error = mixed("ns", "exactly_once", OTHER)
    text = str(error)
    assert error.exit_code == EXIT_SETTINGS
    for part in ("exactly_once here", "pod-1:7 of namespace ns has at_least_once", "stop all replicas", "then start"):
        assert part in text


def test_the_metadata_carries_the_guarantee() -> None:
    """Versions without it are read."""
    assert decode(encode(OWN)) == OWN
    known = decode('{"owner":"o","instance":null,"run":"r","servers":"s","version":"1","beat":3,"left":false}')
    assert known is not None
    assert (known.guarantee, known.since_ms) == ("", 0)


MEMBER = MemberMetadata("pod-1:7", "pod-1", "run-a", "f1", "0.5")


def registry_of(*readings: tuple[float, Mapping[int, MemberMetadata]]) -> ReplicaRegistry:
    registry = ReplicaRegistry()
    for now, members in readings:
        registry.turn(now, lambda members=members: members)  # type: ignore[misc]
    return registry


def test_one_reading_does_not_show_who_is_alive() -> None:
    assert registry_of((0.0, {0: MEMBER})).live == {}


def test_a_process_is_alive_for_eleven_seconds_after_its_heartbeat_changed() -> None:
    first, second = (0.0, {0: MEMBER, 1: MEMBER}), (5.0, {0: MEMBER.at(1), 1: MEMBER})
    assert registry_of(first, second).live == {0: MEMBER.at(1)}
    same = {0: MEMBER.at(1), 1: MEMBER}
    assert registry_of(first, second, (16.0, same)).live == {0: MEMBER.at(1)}
    assert registry_of(first, second, (16.1, same)).live == {}


def test_a_process_that_left_is_not_alive_and_its_successor_is_from_its_first_commit() -> None:
    left = [(0.0, {0: MEMBER}), (5.0, {0: MEMBER.at(1, has_left=True)})]
    assert registry_of(*left).live == {}
    other = MemberMetadata("pod-2:7", "pod-2", "run-b", "f1", "0.5")
    assert registry_of(*left, (10.0, {0: other})).live == {0: other}


def test_a_shard_without_metadata_has_no_live_owner() -> None:
    assert registry_of((0.0, {0: MEMBER}), (5.0, {}), (10.0, {0: MEMBER.at(1)})).live == {}


def test_a_failed_reading_changes_nothing_until_the_owner_is_silent_for_too_long() -> None:
    registry = registry_of((0.0, {0: MEMBER}), (5.0, {0: MEMBER.at(1)}))

    def fail() -> Mapping[int, MemberMetadata]:
        raise Unreachable("away")

    registry.turn(10.0, fail)
    assert registry.live == {0: MEMBER.at(1)}
    registry.turn(17.0, fail)
    assert registry.live == {}
