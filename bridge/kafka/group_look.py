"""Looks at a consumer group from outside: who its members are, and what the owners of shards wrote into its book."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConsumerGroupDescription, MemberDescription

from bridge.core.badge import Badge, decode
from bridge.errors import Stopped
from bridge.kafka.clients import admin_client, unreachable
from bridge.kafka.faults import error_of
from bridge.kafka.group_faults import obstacle_to_joining

_TIMEOUT = 5.0
_SLICE = 0.05
"""Seconds between two looks whether the wait for an answer is to end."""


@dataclass(frozen=True, slots=True)
class MemberSeen:
    """One member of a group, as the coordinator describes it."""

    instance: str | None
    host: str
    """The address it comes from."""
    shards: frozenset[int]
    topics: frozenset[str]
    """Of which it has partitions."""


@dataclass(frozen=True, slots=True)
class GroupSeen:
    """A group at one moment."""

    members: tuple[MemberSeen, ...] = ()
    is_stable: bool = True
    """Not between two assignments, when even living members cannot commit."""
    assignor: str = ""
    allowed: frozenset[str] | None = None
    """The operations Kafka allows the bridge on it, such as ``READ``; None where Kafka does not say."""

    def named(self, instance: str) -> MemberSeen | None:
        """The member with that name."""
        return next((member for member in self.members if member.instance == instance), None)


class GroupLook:
    """Asks about one group. Thread rule: one thread; nothing here waits but ``answer``."""

    def __init__(self, config: Mapping[str, Any], group: str, topic: str, partitions: int) -> None:
        """Raises ``SettingsError``."""
        self._admin: AdminClient = admin_client(config)
        self.name, self.topic = group, topic
        self._partitions = partitions

    def ask_group(self) -> Future[Any]:
        """Ask who is in the group; the answer is for ``group``."""
        answers: Mapping[str, Future[Any]] = self._admin.describe_consumer_groups(
            [self.name], include_authorized_operations=True, request_timeout=_TIMEOUT
        )
        return answers[self.name]

    def ask_badges(self) -> Future[Any]:
        """Ask for the group's book; the answer is for ``badges``."""
        places = [TopicPartition(self.topic, shard) for shard in range(self._partitions)]
        wanted = ConsumerGroupTopicPartitions(self.name, places)
        answers: Mapping[str, Future[Any]] = self._admin.list_consumer_group_offsets([wanted], request_timeout=_TIMEOUT)
        return answers[self.name]

    def group(self, answer: Future[Any]) -> GroupSeen | None:
        """The group; None where Kafka cannot tell (an embedded one). Raises ``SettingsError``, ``Unreachable``."""
        try:
            return _group(answer.result(_TIMEOUT), self.topic)
        except KafkaException as exception:
            error = error_of(exception)
            if error is None or error.code() not in _ABSENT:
                raise self._translated(exception) from exception
            return _ABSENT[error.code()]

    def badges(self, answer: Future[Any]) -> dict[int, Badge]:
        """What the owners wrote, by shard. Raises ``SettingsError``, ``Unreachable``."""
        try:
            places: Iterable[TopicPartition] = answer.result(_TIMEOUT).topic_partitions
        except KafkaException as exception:
            raise self._translated(exception) from exception
        found = {place.partition: decode(place.metadata) for place in places if place.error is None}
        return {shard: badge for shard, badge in found.items() if badge is not None}

    def _translated(self, exception: KafkaException) -> Exception:
        error = error_of(exception)
        obstacle = None if error is None else obstacle_to_joining(error, self.name, self.topic)
        return obstacle or unreachable(f"asking about the consumer group {self.name}", exception)


_ABSENT = {
    KafkaError._UNSUPPORTED_FEATURE: None,
    KafkaError.GROUP_ID_NOT_FOUND: GroupSeen(),  # brokers say so since Kafka 4; older ones call it dead
}


def awaited(answer: Future[Any], is_over: Callable[[], bool]) -> Future[Any]:
    """The answer once it is there; raises ``Stopped``. The client itself ends it after ``_TIMEOUT`` seconds."""
    while not answer.done():
        if is_over():
            raise Stopped
        wait([answer], _SLICE)
    return answer


def _group(found: ConsumerGroupDescription, topic: str) -> GroupSeen:
    members = tuple(_member(each, topic) for each in found.members)
    operations = found.authorized_operations
    allowed = None if operations is None else frozenset(each.name for each in operations)
    return GroupSeen(members, found.state in _AT_REST, found.partition_assignor, allowed)


_AT_REST = frozenset({ConsumerGroupState.STABLE, ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD})


def _member(found: MemberDescription, topic: str) -> MemberSeen:
    places: list[TopicPartition] = found.assignment.topic_partitions if found.assignment else []
    shards = frozenset(place.partition for place in places if place.topic == topic)
    return MemberSeen(found.group_instance_id, found.host.lstrip("/"), shards, frozenset(each.topic for each in places))
