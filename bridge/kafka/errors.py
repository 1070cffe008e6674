"""Classifies errors of the Kafka client and of the consumer group, and formats them for the operator."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from confluent_kafka import KafkaError, KafkaException

from bridge.errors import SettingsError

ProduceError = KafkaError
"""The type of the error in a delivery report, for packages that may not import the client."""


class ErrorScope(Enum):
    """The object that an error concerns, which decides the reaction."""

    RECORD = auto()
    """Kafka never accepts this record, or the batch that it was in: find it and make it a dead letter."""
    TOPIC = auto()
    """The topic, its permissions or the cluster: the same record may be accepted later."""
    FATAL = auto()
    """The producer cannot continue: replace it, and send again from memory."""


_RECORD_ERRORS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError._BAD_MSG,
        KafkaError._INVALID_DIFFERENT_RECORD,  # of another record in the same batch: isolation finds which one
    }
)


def error_of(exception: BaseException) -> KafkaError | None:
    """Return the KafkaError in an exception: librdkafka usually wraps it, and rarely raises it bare."""
    if isinstance(exception, KafkaException) and exception.args and isinstance(exception.args[0], KafkaError):
        return exception.args[0]
    bare: object = exception
    return bare if isinstance(bare, KafkaError) else None


def code_of(exception: BaseException) -> int | None:
    """Return the code of the KafkaError in an exception."""
    error = error_of(exception)
    return None if error is None else error.code()


def scope_of(error: KafkaError) -> ErrorScope:
    """Classify an error of a delivery report or of a call to ``produce``."""
    if error.fatal() or error.code() in _FATAL:
        return ErrorScope.FATAL
    return ErrorScope.RECORD if error.code() in _RECORD_ERRORS else ErrorScope.TOPIC


_FATAL = frozenset(
    {KafkaError._FATAL, KafkaError._FENCED, KafkaError._GAPLESS_GUARANTEE}
    | {KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, KafkaError.UNKNOWN_PRODUCER_ID, KafkaError.INVALID_PRODUCER_EPOCH}
    | {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}  # records of a producer that the bridge abandoned
)
_PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})
_SIZE_ERRORS = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_MSG_SIZE})


def is_purged(error: KafkaError) -> bool:
    """Return whether the bridge itself purged this record, with its transaction or its producer."""
    return error.code() in _PURGED


def is_for_size(error: KafkaError) -> bool:
    """Return whether a smaller record might be accepted."""
    return error.code() in _SIZE_ERRORS


def is_for_age(error: KafkaError) -> bool:
    """Return whether the record might be accepted with the present time: it waited longer than its topic allows."""
    return error.code() == KafkaError.INVALID_TIMESTAMP


def in_words(error: KafkaError) -> str:
    """Return the error's name, which users can look up, and the client's text, in one line."""
    return f"{error.name()}: {error.str()}"


def in_full(topic: str, error: KafkaError) -> str:
    """Return one line for the operator: the topic, the error and, where it is known, the fix."""
    text = f"{topic}: {in_words(error)}"
    fix = _FIXES.get(error.code())
    return text if fix is None else f"{text}; {fix}"


_MISSING = "the topic does not exist: create it again; its records wait in memory"
_DISK = "check the brokers' disks and logs; the records wait in memory"
_TOO_LARGE = "raise max.message.bytes on the topic, or lower events.max_bytes"
_REPLICAS = "check that all brokers run, or lower min.insync.replicas on the topic; the records wait in memory"
_FIXES = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: _MISSING,
    KafkaError._UNKNOWN_TOPIC: _MISSING,
    KafkaError._UNKNOWN_PARTITION: "the topic has fewer partitions than before: create it again with as many",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "grant WRITE on the topic to the bridge's user",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "grant IDEMPOTENT_WRITE on the cluster to the bridge's user",
    KafkaError.MSG_SIZE_TOO_LARGE: _TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE: _TOO_LARGE,
    KafkaError.INVALID_RECORD: "the brokers' log says why it is invalid",
    KafkaError.INVALID_TIMESTAMP: "raise message.timestamp.before.max.ms and message.timestamp.after.max.ms on the"
    " topic, and check that the clocks of this machine and of the brokers agree",
    KafkaError.POLICY_VIOLATION: "a policy of the brokers forbids it: ask their operator",
    KafkaError.KAFKA_STORAGE_ERROR: _DISK,
    KafkaError.NOT_ENOUGH_REPLICAS: _REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND: _REPLICAS,
}


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
