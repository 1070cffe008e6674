"""Classifies errors of the consumer group for a member. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from confluent_kafka import KafkaError

from bridge.errors import SettingsError


class MemberStatus(Enum):
    """The membership of this process, as far as an answer of the group proves it."""

    MEMBER = auto()
    """The group accepted a request that only a member may send."""
    UNKNOWN = auto()
    """The answer proves nothing: a rebalance, a time-out, or no coordinator. Ask again."""
    EXPELLED = auto()
    """It is no member any more: others have its shards, or will have them soon."""
    FENCED = auto()
    """Another process has taken its instance id: it cannot come back."""


_EXPELLED = frozenset({KafkaError.UNKNOWN_MEMBER_ID, KafkaError._MAX_POLL_EXCEEDED})
_FENCED = frozenset({KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL})


def member_status(error: KafkaError | None) -> MemberStatus:
    """Return what the answer to a commit proves.

    An old generation (``ILLEGAL_GENERATION``) proves nothing: a rebalance overtook the commit.
    """
    if error is None:
        return MemberStatus.MEMBER
    if error.fatal() or error.code() in _FENCED:
        return MemberStatus.FENCED
    return MemberStatus.EXPELLED if error.code() in _EXPELLED else MemberStatus.UNKNOWN


def join_refusal(error: KafkaError, group: str, topic: str) -> SettingsError | None:
    """Return why this group never accepts this process with its settings; None: a later attempt may succeed."""
    found = _REFUSALS.get(error.code())
    return None if found is None else SettingsError.of(found[0], found[1].format(group=group, topic=topic))


# The setting, the problem, and after a semicolon the fix
_REFUSALS: Mapping[int, tuple[str, str]] = {
    KafkaError.GROUP_AUTHORIZATION_FAILED: (
        "namespace",
        "not allowed to use the consumer group {group}; grant READ on group {group} to the bridge's user",
    ),
    KafkaError.TOPIC_AUTHORIZATION_FAILED: (
        "topics.checkpoints",
        "not allowed to subscribe to topic {topic}; grant READ on topic {topic} to the bridge's user",
    ),
    KafkaError.INVALID_SESSION_TIMEOUT: (
        "kafka.group_session_timeout",
        "the brokers do not allow it; respect their group.min.session.timeout.ms and group.max.session.timeout.ms",
    ),
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: (
        "namespace",
        "the consumer group {group} belongs to other consumers than bridges; give this bridge its own namespace",
    ),
    KafkaError.GROUP_MAX_SIZE_REACHED: (
        "kafka",
        "the consumer group {group} has as many members as the brokers allow; raise their group.max.size",
    ),
    KafkaError.INVALID_GROUP_ID: (
        "namespace",
        "the brokers do not accept {group} as the name of a consumer group; choose another namespace",
    ),
}
