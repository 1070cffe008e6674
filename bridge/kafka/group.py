"""Describes a consumer group from outside: its members, and the metadata that the owners of shards committed."""

from __future__ import annotations

import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, ConsumerGroupState, KafkaError, KafkaException, TopicPartition

from bridge.clock import monotonic
from bridge.core.records.member_metadata import MemberMetadata, decode
from bridge.errors import SettingsError, Unreachable
from bridge.kafka.config import admin_client, answer_of, client_logger, plain, settings_judged, unreachable
from bridge.kafka.errors import code_of, error_of, join_refusal

_UUID = 36
"""Characters at the end of a member id that make it unique."""
_RETRY = 0.1
"""Seconds between two requests while the coordinator starts."""


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One member of a group, as its coordinator describes it."""

    member_id: str
    host: str
    """The address that it connects from."""
    shards: frozenset[int] = frozenset()
    """Its partitions of our topic."""
    topics: frozenset[str] = frozenset()
    """The topics that it subscribes to or has partitions of."""
    client_id: str = ""
    instance: str | None = None
    """Its ``group.instance.id``, where Kafka returns it."""

    def is_named(self, instance: str) -> bool:
        """Return whether this is its instance id: the coordinator derives the member ids of static members from it."""
        return self.member_id[:-_UUID] == f"{instance}-"

    def __str__(self) -> str:
        return f"{self.instance or self.client_id} at {self.host}"


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """A group at one moment."""

    members: tuple[GroupMember, ...] = ()
    is_stable: bool = True
    """False during a rebalance, when even living members cannot commit."""
    exists: bool = True
    """False if no broker has it: nobody ever joined it, or its coordinator is away."""
    operations: frozenset[str] | None = None
    """The operations that the bridge is allowed, such as ``READ``; None: not asked, or Kafka does not say."""

    def named(self, instance: str) -> GroupMember | None:
        """Return the member with this instance id."""
        return next((member for member in self.members if member.is_named(instance)), None)

    def has_idle(self, client_id: str, shards: int) -> bool:
        """Return whether a member with this ``client.id`` has none of the shards: it waits, and commits nothing.

        Containers that share the name of a host may have one ``client.id``.
        """
        members = (member for member in self.members if member.client_id == client_id)
        return any(all(number >= shards for number in member.shards) for member in members)


def look_at_group(config: Mapping[str, Any], group: str, topic: str, timeout: float) -> GroupDescription | None:
    """Describe a group for a daemon. None: Kafka does not answer, or is embedded. Raises ``SettingsError``.

    It uses the client's oldest request. The newer ones end the whole process with a failed assertion when the
    connection to the coordinator is cut or times out (librdkafka issue 4605, observed after some seconds without a
    broker).
    """
    try:
        found: list[Any] = admin_client(config).list_groups(group=group, timeout=timeout)
    except KafkaException:
        return None
    listed = next((each for each in found if each.id == group), None)
    if listed is None:
        return GroupDescription(exists=False)
    return None if listed.error is not None else _listed(listed, topic)


def _listed(found: Any, topic: str) -> GroupDescription:  # noqa: ANN401 - the client types every field as optional
    members = (
        GroupMember(
            each.id,
            each.client_host.lstrip("/"),
            assigned(each.assignment or b"").get(topic, frozenset()),
            subscribed(each.metadata or b""),
            each.client_id,
        )
        for each in found.members
    )
    return GroupDescription(tuple(members), found.state in {"Stable", "Empty", "Dead"})


def describe_group(config: Mapping[str, Any], group: str, topic: str, timeout: float) -> GroupDescription:
    """Describe a group for a command, with what the bridge is allowed; blocks for twice ``timeout`` seconds at most.

    Not for daemons: see `look_at_group`. Raises ``SettingsError`` and ``Unreachable``.
    """
    admin, end, never = admin_client(config), monotonic() + timeout, threading.Event()
    while True:
        answers = admin.describe_consumer_groups([group], include_authorized_operations=True, request_timeout=timeout)
        try:
            return _described(answer_of(answers[group], timeout), topic)
        except KafkaException as exception:
            code = code_of(exception)
            if code == KafkaError.GROUP_ID_NOT_FOUND:  # since Kafka 4; before, such a group is dead
                return GroupDescription()
            if code not in _STARTING or monotonic() > end:
                raise _refusal(exception, f"describing the consumer group {group}", group, topic) from exception
        never.wait(_RETRY)


# A cluster without any group first creates the topic of the coordinator.
_STARTING = frozenset(
    {KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS}
)
_STABLE = frozenset({ConsumerGroupState.STABLE, ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD})


def _described(found: Any, topic: str) -> GroupDescription:  # noqa: ANN401 - as above
    allowed = found.authorized_operations
    operations = None if allowed is None else frozenset(each.name for each in allowed)
    members = tuple(_described_member(each, topic) for each in found.members)
    return GroupDescription(members, found.state in _STABLE, operations=operations)


def _described_member(found: Any, topic: str) -> GroupMember:  # noqa: ANN401 - as above
    partitions = found.assignment.topic_partitions if found.assignment else []
    return GroupMember(
        found.member_id,
        found.host.lstrip("/"),
        frozenset(each.partition for each in partitions if each.topic == topic),
        frozenset(each.topic for each in partitions),
        found.client_id,
        found.group_instance_id,
    )


def read_members_metadata(
    consumer: Consumer, group: str, topic: str, partitions: int, timeout: float
) -> dict[int, MemberMetadata]:
    """Return what the owners of shards committed, by shard. The consumer has the group's id; it need not be a member.

    Blocks for ``timeout`` seconds at most. Raises ``SettingsError``, ``Unreachable``.
    """
    try:
        found = consumer.committed([TopicPartition(topic, shard) for shard in range(partitions)], timeout=timeout)
    except KafkaException as exception:
        doing = f"reading the committed metadata of the consumer group {group}"
        raise _refusal(exception, doing, group, topic) from exception
    decoded = {each.partition: decode(each.metadata) for each in found if each.error is None}
    return {shard: metadata for shard, metadata in decoded.items() if metadata is not None}


def members_metadata_of(
    config: Mapping[str, Any], group: str, topic: str, shards: int, timeout: float
) -> dict[int, MemberMetadata]:
    """Do the same with a consumer that never joins the group. Any thread."""
    with settings_judged():
        properties = plain(config) | {"group.id": group, "enable.auto.commit": False}
        consumer = Consumer(properties, logger=client_logger("group check"))
    try:
        return read_members_metadata(consumer, group, topic, shards, timeout)
    finally:
        consumer.close()


def _refusal(exception: KafkaException, doing: str, group: str, topic: str) -> SettingsError | Unreachable:
    error = error_of(exception)
    refusal = None if error is None else join_refusal(error, group, topic)
    return refusal or unreachable(doing, exception)


class _Cursor:
    """Reads Kafka's ``ConsumerProtocolSubscription`` or ``ConsumerProtocolAssignment``, one value after the other.

    Big-endian; newer versions add fields at the end, which are ignored. Raises ``struct.error`` or ``ValueError`` at
    the end of the message.
    """

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._at = struct.calcsize(">h")  # after the version

    def number(self, form: str = ">i") -> int:
        (value,) = struct.unpack_from(form, self._message, self._at)
        self._at += struct.calcsize(form)
        return int(value)

    def text(self) -> str:
        start = self._at + struct.calcsize(">h")
        self._at = start + self.number(">h")
        if not start <= self._at <= len(self._message):
            raise ValueError("the text is longer than the message")
        return self._message[start : self._at].decode()


def subscribed(subscription: bytes) -> frozenset[str]:
    """Return the topics that a member subscribes to; none for a message that cannot be decoded."""
    cursor = _Cursor(subscription)
    try:
        return frozenset([cursor.text() for _ in range(cursor.number())])
    except (struct.error, ValueError):
        return frozenset()


def assigned(assignment: bytes) -> Mapping[str, frozenset[int]]:
    """Return the partitions of a member, by topic; none for a message that cannot be decoded."""
    cursor = _Cursor(assignment)
    try:
        return {
            cursor.text(): frozenset([cursor.number() for _ in range(cursor.number())]) for _ in range(cursor.number())
        }
    except (struct.error, ValueError):
        return {}
