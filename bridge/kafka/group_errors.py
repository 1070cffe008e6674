"""What an error of the consumer group means for a member of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from confluent_kafka import KafkaError

from bridge.errors import SettingsError


class MemberStatus(Enum):
    """How the group sees this process after an answer of its."""

    MEMBER = auto()
    """It accepted what only a member may do."""
    UNKNOWN = auto()
    """Nothing was learnt: a rebalance, a time-out, a coordinator that is away. Ask again."""
    EXPELLED = auto()
    """It is no member any more: its shards are somebody else's, or soon will be."""
    FENCED = auto()
    """Finished for good: another process has taken the place that this one had by its name."""


_EXPELLED = frozenset({KafkaError.UNKNOWN_MEMBER_ID, KafkaError._MAX_POLL_EXCEEDED})
_FENCED = frozenset({KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL})


def standing_of(error: KafkaError | None) -> MemberStatus:
    """What the answer to a commit says.

    An old generation (``ILLEGAL_GENERATION``) is no proof of anything: the commit was overtaken by a rebalance.
    """
    if error is None:
        return MemberStatus.MEMBER
    if error.fatal() or error.code() in _FENCED:
        return MemberStatus.FENCED
    return MemberStatus.EXPELLED if error.code() in _EXPELLED else MemberStatus.UNKNOWN


def connection_failure_to_joining(error: KafkaError, group: str, topic: str) -> SettingsError | None:
    """Why this group will never take this process as it is set; None when the same attempt may succeed later."""
    found = _OBSTACLES.get(error.code())
    return None if found is None else SettingsError.of(found[0], found[1].format(group=group, topic=topic))


# The setting, what is wrong, and after a semicolon the way out
_OBSTACLES: Mapping[int, tuple[str, str]] = {
    KafkaError.GROUP_AUTHORIZATION_FAILED: (
        "namespace",
        "not allowed to join the consumer group {group}; grant READ on group {group} to the bridge's user",
    ),
    KafkaError.TOPIC_AUTHORIZATION_FAILED: (
        "topics.checkpoints",
        "not allowed to share topic {topic}; grant READ on topic {topic} to the bridge's user",
    ),
    KafkaError.INVALID_SESSION_TIMEOUT: (
        "kafka.group_session_timeout",
        "the brokers do not allow it; keep to their group.min.session.timeout.ms and group.max.session.timeout.ms",
    ),
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: (
        "namespace",
        "the consumer group {group} belongs to other consumers than bridges; give this bridge its own namespace",
    ),
    KafkaError.GROUP_MAX_SIZE_REACHED: (
        "kafka",
        "the brokers let no more members into the consumer group {group}; raise their group.max.size, or run fewer",
    ),
    KafkaError.INVALID_GROUP_ID: (
        "namespace",
        "the brokers do not take {group} as the name of a consumer group; choose another namespace",
    ),
}
