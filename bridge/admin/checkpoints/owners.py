"""Who owns which shards now, asked of the consumer group from outside: for commands that write what owners write."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConsumerGroupDescription, MemberDescription

from bridge.admin.check.group import members_metadata_of
from bridge.clock import monotonic
from bridge.core.records.member_metadata import MemberMetadata
from bridge.errors import BridgeError, Unreachable
from bridge.kafka.config import admin_client
from bridge.kafka.errors import error_of, in_words

_TIMEOUT = 10.0
_SETTLED_WITHIN = 10.0
"""Seconds for a group that is sharing its partitions out anew."""
_AGAIN = 0.2


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One live member of the consumer group, as the brokers tell of it."""

    member_id: str
    client_id: str
    host: str
    instance: str | None
    """Its ``group.instance.id``."""
    partitions: frozenset[tuple[str, int]]
    """What it owns: topics and partitions."""

    def __str__(self) -> str:
        """For people."""
        return f"{self.instance or self.client_id} at {self.host.lstrip('/')}"


class OwnersUnknown(Unreachable):
    """Nobody can tell whether a live bridge owns a shard; says why."""


def owners(config: Mapping[str, Any], group: str) -> tuple[GroupMember, ...]:
    """The living members of the group and what each of them has. Waits for seconds. Raises `OwnersUnknown`."""
    members = _members(config, group)
    places = [place for member in members if member.instance is not None for place in member.partitions]
    shards = {topic: max(shard for name, shard in places if name == topic) + 1 for topic, _ in places}
    book: dict[tuple[str, int], MemberMetadata] = {}
    for topic, count in shards.items():
        with suppress(BridgeError):  # who cannot be asked whether it has left has not
            members_metadata = members_metadata_of(config, group, topic, count, _TIMEOUT)
            book |= {(topic, shard): member_metadata for shard, member_metadata in members_metadata.items()}
    return still_there(members, book)


def still_there(
    members: Iterable[GroupMember], book: Mapping[tuple[str, int], MemberMetadata]
) -> tuple[GroupMember, ...]:
    """Without those whose last words were that they leave: under a name they count for a while all the same. Pure."""

    def has_left(member: GroupMember) -> bool:
        words = [book.get(place) for place in member.partitions]
        said = (
            member_metadata is not None and member_metadata.has_left and member_metadata.instance == member.instance
            for member_metadata in words
        )
        return bool(words) and member.instance is not None and all(said)

    return tuple(member for member in members if not has_left(member))


def _members(config: Mapping[str, Any], group: str) -> tuple[GroupMember, ...]:
    admin, end = admin_client(config), monotonic() + _SETTLED_WITHIN
    never = threading.Event()
    while True:
        try:
            found = _described(admin, group)
        except _NotYet as error:
            if monotonic() > end:
                raise OwnersUnknown(f"the consumer group {group}: {error}, for {_SETTLED_WITHIN:g} s") from error
        else:
            return tuple(_member(each) for each in found.members) if found is not None else ()
        never.wait(_AGAIN)


class _NotYet(Exception):
    """What passes by itself; says what it is."""


def owning(members: Iterable[GroupMember], topic: str, shards: Iterable[int]) -> dict[int, GroupMember]:
    """Of these shards those that somebody owns, and who. Pure."""
    owned = {place: member for member in members for place in member.partitions}
    return {shard: owned[topic, shard] for shard in sorted(set(shards)) if (topic, shard) in owned}


_AT_REST = frozenset({ConsumerGroupState.STABLE, ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD})


# A cluster that never had a group makes the coordinator's topic first.
_PASSING = frozenset(
    {KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS}
)


def _described(admin: AdminClient, group: str) -> ConsumerGroupDescription | None:
    """None: there is no such group, and there may never have been."""
    answers: Mapping[str, Future[Any]] = admin.describe_consumer_groups([group], request_timeout=_TIMEOUT)
    try:
        described: ConsumerGroupDescription = answers[group].result(2 * _TIMEOUT)
    except KafkaException as exception:
        error = error_of(exception)
        if error is not None and error.code() == KafkaError.GROUP_ID_NOT_FOUND:  # older brokers call it dead
            return None
        if error is not None and error.code() in _PASSING:
            raise _NotYet(in_words(error)) from exception
        raise OwnersUnknown(_why(group, error) or str(exception)) from exception
    if described.state not in _AT_REST:
        raise _NotYet("it is sharing its shards out anew")
    return described


def _why(group: str, error: KafkaError | None) -> str | None:
    if error is None:
        return None
    if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
        return f"not allowed to see the consumer group {group} (grant DESCRIBE on it)"
    return f"asking about the consumer group {group}: {in_words(error)}"


def _member(found: MemberDescription) -> GroupMember:
    places = found.assignment.topic_partitions if found.assignment else []
    partitions = frozenset((place.topic, place.partition) for place in places)
    return GroupMember(found.member_id, found.client_id, found.host, found.group_instance_id, partitions)
