"""Which replica owns which shards now: for commands that write checkpoints, as only owners do."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from bridge.clock import monotonic
from bridge.core.records.member_metadata import MemberMetadata
from bridge.errors import BridgeError, SettingsError, Unreachable
from bridge.kafka.group import GroupDescription, GroupMember, describe_group, members_metadata_of

_TIMEOUT = 10.0
_STABLE_WITHIN = 10.0
"""Seconds for a rebalance to end."""
_RETRY = 0.2


class OwnersUnknown(Unreachable):
    """It cannot be found out whether a live replica owns a shard; the text says why."""


def owners(config: Mapping[str, Any], group: str, topic: str) -> tuple[GroupMember, ...]:
    """Return the live members of the group with their shards. Blocks for seconds. Raises `OwnersUnknown`."""
    members = _stable(config, group, topic).members
    # Before positions are moved to another topic, members have shards of the old one only
    for each in frozenset({topic}).union(*(member.topics for member in members)):
        described = members if each == topic else _stable(config, group, each).members
        ids = {member.member_id for member in live(described, _metadata(config, group, each, described))}
        members = tuple(member for member in members if member.member_id in ids)
    return members


def _metadata(
    config: Mapping[str, Any], group: str, topic: str, members: Iterable[GroupMember]
) -> dict[int, MemberMetadata]:
    """Return the committed metadata by shard; without an answer none, so that every member counts as live."""
    shards = frozenset[int]().union(*(member.shards for member in members if member.instance is not None))
    if shards:
        with suppress(BridgeError):
            return members_metadata_of(config, group, topic, max(shards) + 1, _TIMEOUT)
    return {}


def live(members: Iterable[GroupMember], metadata: Mapping[int, MemberMetadata]) -> tuple[GroupMember, ...]:
    """Leave out members whose metadata says that they left: static ones stay in the group for a while. Pure."""

    def has_left(member: GroupMember) -> bool:
        committed = [metadata.get(shard) for shard in member.shards]
        left = (each is not None and each.has_left and each.instance == member.instance for each in committed)
        return bool(committed) and member.instance is not None and all(left)

    return tuple(member for member in members if not has_left(member))


def owning(members: Iterable[GroupMember], shards: Iterable[int]) -> dict[int, GroupMember]:
    """Return the owners of these shards, by shard. Pure."""
    owned = {shard: member for member in members for shard in member.shards}
    return {shard: owned[shard] for shard in sorted(set(shards)) if shard in owned}


def _stable(config: Mapping[str, Any], group: str, topic: str) -> GroupDescription:
    end, never = monotonic() + _STABLE_WITHIN, threading.Event()
    while True:
        try:
            found = describe_group(config, group, topic, _TIMEOUT)
        except SettingsError as error:
            raise OwnersUnknown(error.mistakes[0].message) from error
        except Unreachable as error:
            raise OwnersUnknown(str(error)) from error
        if found.is_stable:
            return found
        if monotonic() > end:
            raise OwnersUnknown(f"the consumer group {group} has been rebalancing for {_STABLE_WITHIN:g} s")
        never.wait(_RETRY)
