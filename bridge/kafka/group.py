"""Looks at a consumer group from outside: who its members are, and what the owners of shards wrote into its book.

None of the newer calls of the admin client is used for it: when one that goes to a group's coordinator is cut off or
times out, librdkafka ends the whole process with a failed assertion (its issue 4605; seen with a broker that was away
for some seconds).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from bridge.core.records.member_metadata import MemberMetadata, decode
from bridge.errors import SettingsError, Unreachable
from bridge.kafka.config import admin_client, unreachable
from bridge.kafka.errors import error_of
from bridge.kafka.group_errors import connection_failure_to_joining
from bridge.kafka.group_protocol import assigned, subscribed

_UUID = 36
"""Characters at the end of a member id that make it unique."""


@dataclass(frozen=True, slots=True)
class MemberSeen:
    """One member of a group, as the coordinator describes it."""

    member_id: str
    host: str
    """The address it comes from."""
    shards: frozenset[int] = frozenset()
    """The partitions of our topic that it has."""
    topics: frozenset[str] = frozenset()
    """What it shares."""

    def is_named(self, instance: str) -> bool:
        """Whether it bears that name: the coordinator makes the ids of such members from it."""
        return self.member_id[:-_UUID] == f"{instance}-"


@dataclass(frozen=True, slots=True)
class GroupSeen:
    """A group at one moment."""

    members: tuple[MemberSeen, ...] = ()
    is_stable: bool = True
    """Not between two assignments, when even living members cannot commit."""

    def named(self, instance: str) -> MemberSeen | None:
        """The member with that name."""
        return next((member for member in self.members if member.is_named(instance)), None)


def read_members_metadata(
    consumer: Consumer, group: str, topic: str, partitions: int, timeout: float
) -> dict[int, MemberMetadata]:
    """What the owners of shards wrote into their group's book, by shard; the consumer is of that group, joined or not.

    Waits up to ``timeout`` seconds; raises ``SettingsError``, ``Unreachable``.
    """
    places = [TopicPartition(topic, shard) for shard in range(partitions)]
    try:
        found = consumer.committed(places, timeout=timeout)
    except KafkaException as exception:
        raise _translated(exception, group, topic) from exception
    members_metadata = {place.partition: decode(place.metadata) for place in found if place.error is None}
    return {
        shard: member_metadata for shard, member_metadata in members_metadata.items() if member_metadata is not None
    }


def _translated(exception: KafkaException, group: str, topic: str) -> SettingsError | Unreachable:
    error = error_of(exception)
    connection_failure = None if error is None else connection_failure_to_joining(error, group, topic)
    return connection_failure or unreachable(f"reading the book of the consumer group {group}", exception)


def look_at_group(config: Mapping[str, Any], group: str, topic: str, timeout: float) -> GroupSeen | None:
    """The members of a group; None where Kafka does not tell: an embedded one, or one with a broker away.

    Waits up to ``timeout`` seconds. Raises ``SettingsError``.
    """
    try:
        found: list[Any] = admin_client(config).list_groups(group=group, timeout=timeout)
    except KafkaException:
        return None
    return next((_group(each, topic) for each in found if each.id == group), GroupSeen())


def _group(found: Any, topic: str) -> GroupSeen:  # noqa: ANN401 - the types of the client say None of every field
    return GroupSeen(tuple(_member(each, topic) for each in found.members), found.state in _AT_REST)


_AT_REST = frozenset({"Stable", "Empty", "Dead"})


def _member(found: Any, topic: str) -> MemberSeen:  # noqa: ANN401 - as above
    shards = assigned(found.assignment or b"").get(topic, frozenset())
    return MemberSeen(found.id, found.client_host.lstrip("/"), shards, subscribed(found.metadata or b""))
