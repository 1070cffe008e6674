"""The checkpoints topic: reads it to its end, writes edits to it, and finds out which replica owns which shards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeVar

from bridge.admin.checkpoints.edit import REFUSED, Edit, Refused
from bridge.admin.kafka_access import KafkaAccess, read_all
from bridge.clock import monotonic, unix_ms
from bridge.core.checkpoint_log import CheckpointLog
from bridge.core.records.member_metadata import MemberMetadata
from bridge.core.terminal_text import visible
from bridge.errors import BridgeError, SettingsError, Unreachable
from bridge.kafka.client import Outgoing
from bridge.kafka.group import GroupDescription, GroupMember, describe_group, members_metadata_of
from bridge.kafka.record_sender import RecordSender
from bridge.kafka.topic_admin import TopicAdmin
from bridge.kafka.topic_reader import offset_ranges
from bridge.kafka.topics import TopicDescription, examine, needed_bytes, plan
from bridge.settings.naming import group_of
from bridge.sharding.restore_progress import add_record, checkpoint_record

T = TypeVar("T")

_TIMEOUT = 10.0
_STABLE_WITHIN = 10.0
"""Seconds for a rebalance to end."""
_RETRY = 0.2
_VISIBLE_WITHIN = 10.0
"""Seconds until a new topic is visible and its partitions have leaders."""
_STOP = (
    "Stop it and run this again (one that was killed counts as running until kafka.group_session_timeout has passed)"
)


class OwnersUnknown(Unreachable):
    """It cannot be found out whether a live replica owns a shard; the text says why."""


@dataclass(frozen=True, slots=True)
class CheckpointsTopic:
    """The checkpoints topic of the settings, as read."""

    access: KafkaAccess
    name: str
    partitions: int
    log: CheckpointLog

    @classmethod
    def read(cls, access: KafkaAccess, *, create: bool = False) -> CheckpointsTopic:
        """Raises `SettingsError` if there is no such topic and it may not be created, and `Unreachable`."""
        name = access.settings.topics.checkpoints
        partitions = _described(access, create=create).partitions
        wait = _VISIBLE_WITHIN if create else 0.0
        return cls(access, name, partitions, _retried(lambda: read_log(access.config, name, partitions), wait))

    def refuse_if_owned(self, shards: Iterable[int]) -> None:
        """Raise `Refused` if a running bridge owns one of these shards, or if that is not known."""
        owned = owning(self._members(), shards)
        if owned:
            shard, member = next(iter(owned.items()))
            more = f" and {len(owned) - 1} more" if len(owned) > 1 else ""
            force = "; or write anyway with --force: the owner notices the record and continues from it"
            owner = f"{named([member])}, a running mix-bridge"
            raise Refused(f"{REFUSED} shard {shard} of {self.name}{more}: owned by {owner}. {_STOP}{force}")

    def refuse_if_any_runs(self) -> None:
        """Raise `Refused` if a bridge of the namespace runs, or if that is not known."""
        if members := self._members():
            raise Refused(f"{REFUSED} mix-bridge is running: {named(members)}. {_STOP}")

    def _members(self) -> tuple[GroupMember, ...]:
        try:
            return running(self.access)
        except OwnersUnknown as unknown:
            stop = "Stop all of this namespace and use --force"
            why = f"it is not known whether a mix-bridge is running: {unknown}"
            raise Refused(f"{REFUSED} {why}. {stop}") from unknown

    def write(self, edits: Sequence[Edit]) -> None:
        """Write all edits, each record after the one before is acknowledged. Raises `Unreachable`, `SettingsError`."""
        sender = RecordSender(self.access.config, _described(self.access).max_message_bytes)
        for turn in zip_longest(*(edit.writes for edit in edits)):
            for edit, write in zip(edits, turn, strict=True):
                if write is not None:
                    outgoing = Outgoing(self.name, edit.key, write.value, [], unix_ms(), write.partition)
                    sender.send(outgoing, _check_acknowledged)
            sender.settle()


def running(access: KafkaAccess) -> tuple[GroupMember, ...]:
    """Return the running bridges of the namespace. Raises ``OwnersUnknown``, which is ``Unreachable``."""
    return owners(access.config, group_of(access.settings.namespace), access.settings.topics.checkpoints)


def named(members: Iterable[GroupMember]) -> str:
    """Return their names for people."""
    return visible(", ".join(sorted({str(member) for member in members})))


def owners(config: Mapping[str, Any], group: str, topic: str) -> tuple[GroupMember, ...]:
    """Return the live members of the group with their shards. Blocks for seconds. Raises `OwnersUnknown`."""
    members = _stable(config, group, topic).members
    # Before positions are moved to another topic, members have shards of the old one only
    for each in frozenset({topic}).union(*(member.topics for member in members)):
        described = members if each == topic else _stable(config, group, each).members
        shards = frozenset[int]().union(*(member.shards for member in described if member.instance is not None))
        metadata: dict[int, MemberMetadata] = {}
        if shards:
            with suppress(BridgeError):  # without an answer, every member counts as live
                metadata = members_metadata_of(config, group, each, max(shards) + 1, _TIMEOUT)
        ids = {member.member_id for member in live(described, metadata)}
        members = tuple(member for member in members if member.member_id in ids)
    return members


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


def read_log(config: Mapping[str, Any], topic: str, partitions: int) -> CheckpointLog:
    """Read the newest checkpoint of every session, up to the present end of the topic. Raises `Unreachable`."""
    ranges, checkpoint_log = offset_ranges(config, [topic]), CheckpointLog(partitions)
    if len(ranges) != partitions:
        raise Unreachable(f"Kafka: {topic} has {len(ranges)} partitions, a moment ago {partitions}: try again")
    for batch in read_all(config, ranges, "positions"):
        for record in batch:
            add_record(checkpoint_log, checkpoint_record(record), is_tombstone=record.value is None)
    return checkpoint_log


def _check_acknowledged(refusal: str | None) -> None:
    if refusal is not None:
        raise SettingsError.of("topics.checkpoints", f"Kafka refused a checkpoint: {refusal}; allowed: Write on it")


def _retried(attempt: Callable[[], T], within: float) -> T:
    """Retry while Kafka is unreachable: a new topic is not visible at first, and then has no leaders."""
    end, never = monotonic() + within, threading.Event()
    while True:
        try:
            return attempt()
        except Unreachable:
            if monotonic() > end:
                raise
        never.wait(0.1)


def _described(access: KafkaAccess, *, create: bool = False) -> TopicDescription:
    """Return the topic. With ``create`` as a daemon needs it, and it is created if it is missing."""
    (planned,) = (each for each in plan(access.settings) if each.key == "topics.checkpoints")
    admin = TopicAdmin(access.config)
    found = admin.existing([planned]).get(planned.name)
    if found is None and create and access.settings.topics.create:
        admin.create([planned])

        def visible_now() -> TopicDescription:
            if (created := admin.existing([planned]).get(planned.name)) is None:
                raise Unreachable(f"Kafka: {planned.name} was created, but is not visible yet")
            return created

        found = _retried(visible_now, _VISIBLE_WITHIN)
    if found is None:
        raise SettingsError.of(
            "topics.checkpoints",
            f"there is no topic {planned.name}, or it is not visible; allowed: the topic of a daemon that has run"
            " (check namespace too)",
        )
    if create and (mistakes := examine(planned, found, needed_bytes(access.settings)).mistakes):
        raise SettingsError(mistakes)
    return found
