"""The live owners of shards, by the metadata that was read."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.core.records.member_metadata import MemberMetadata
from bridge.errors import Unreachable
from bridge.sharding.replica import ReplicaRegistry

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
