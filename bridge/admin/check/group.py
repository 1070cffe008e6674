"""The consumer group as ``mix-bridge check`` sees it: who is in it, and what the bridge may do with it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import TimeoutError as NoAnswer
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConsumerGroupDescription, MemberDescription

from bridge.clock import monotonic
from bridge.core.records.member_metadata import MemberMetadata
from bridge.errors import Unreachable
from bridge.kafka.config import admin_client, client_logger, settings_judged, unreachable
from bridge.kafka.errors import error_of
from bridge.kafka.group import GroupSeen, MemberSeen, read_members_metadata
from bridge.kafka.group_errors import connection_failure_to_joining

_AT_FIRST, _AGAIN = 2.0, 0.1
"""Seconds, and seconds between two questions, while the brokers make the topic of the groups: at the first one ever."""


@dataclass(frozen=True, slots=True)
class GroupSurveyed:
    """One group at one moment."""

    seen: GroupSeen
    allowed: frozenset[str] | None
    """The operations Kafka allows the bridge on it, such as ``READ``; None where Kafka does not say."""


def survey_group(config: Mapping[str, Any], group: str, topic: str, patience: float) -> GroupSurveyed:
    """Ask for the group, whose members share ``topic``; blocks for ``patience`` seconds and a little more. Any thread.

    For commands only: librdkafka ends the process when this request is cut off and the broker comes back (its issue
    4605). Nothing else tells what the bridge is allowed. Raises ``SettingsError`` and ``Unreachable``.
    """
    admin = admin_client(config)
    end, never = monotonic() + min(_AT_FIRST, patience), threading.Event()
    while True:
        try:
            return _surveyed(_described(admin, group, patience), topic)
        except NoAnswer as error:
            raise Unreachable(f"Kafka: no answer about the consumer group {group}") from error
        except KafkaException as exception:
            error_met = error_of(exception)
            if error_met is not None and error_met.code() == KafkaError.GROUP_ID_NOT_FOUND:
                return GroupSurveyed(GroupSeen(), None)
            if error_met is None or error_met.code() not in _ASK_AGAIN or monotonic() > end:
                connection_failure = (
                    None if error_met is None else connection_failure_to_joining(error_met, group, topic)
                )
                raise connection_failure or unreachable(
                    f"asking for the consumer group {group}", exception
                ) from exception
        never.wait(_AGAIN)


_ASK_AGAIN = frozenset({KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS})


def _described(admin: AdminClient, group: str, patience: float) -> ConsumerGroupDescription:
    answers = admin.describe_consumer_groups([group], include_authorized_operations=True, request_timeout=patience)
    described: ConsumerGroupDescription = answers[group].result(patience)
    return described


def _surveyed(found: ConsumerGroupDescription, topic: str) -> GroupSurveyed:
    operations = found.authorized_operations
    allowed = None if operations is None else frozenset(each.name for each in operations)
    return GroupSurveyed(GroupSeen(tuple(_member(each, topic) for each in found.members)), allowed)


def _member(found: MemberDescription, topic: str) -> MemberSeen:
    places = found.assignment.topic_partitions if found.assignment else []
    shards = frozenset(place.partition for place in places if place.topic == topic)
    return MemberSeen(found.member_id, found.host.lstrip("/"), shards, frozenset(place.topic for place in places))


def members_metadata_of(
    config: Mapping[str, Any], group: str, topic: str, shards: int, patience: float
) -> dict[int, MemberMetadata]:
    """What the owners committed to the group's book, by shard; blocks for ``patience`` seconds at most. Any thread.

    Raises ``SettingsError`` and ``Unreachable``.
    """
    with settings_judged():
        # It never subscribes, and so is no member: it may ask all the same.
        reader = Consumer(dict(config) | {"group.id": group, "enable.auto.commit": False}, logger=client_logger())
    try:
        return read_members_metadata(reader, group, topic, shards, patience)
    finally:
        reader.close()
