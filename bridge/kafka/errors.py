"""What an error of the Kafka client means for the one who gets it."""

from __future__ import annotations

from enum import Enum, auto

from confluent_kafka import KafkaError, KafkaException

ProduceError = KafkaError
"""The type of the error in a delivery report, for those who may not import the client."""


class Fault(Enum):
    """Whose fault an error is, and so what to do."""

    RECORD = auto()
    """Kafka will never take this record (or the batch it was in): find it, dead letter."""
    PLACE = auto()
    """The topic, its permissions or the cluster: the same record may succeed later."""
    FATAL = auto()
    """The producer is finished: replace it, go on from memory."""


_RECORD_FAULTS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError._BAD_MSG,
    }
)


def error_of(exception: BaseException) -> KafkaError | None:
    """The KafkaError in an exception: librdkafka's come wrapped, and once in a while bare."""
    if isinstance(exception, KafkaException) and exception.args and isinstance(exception.args[0], KafkaError):
        return exception.args[0]
    bare: object = exception
    return bare if isinstance(bare, KafkaError) else None


def code_of(exception: BaseException) -> int | None:
    """Return the code of the KafkaError in an exception."""
    error = error_of(exception)
    return None if error is None else error.code()


def fault_of(error: KafkaError) -> Fault:
    """Sort an error of a delivery report or of a call to ``produce``."""
    if error.fatal() or error.code() in _FATAL:
        return Fault.FATAL
    return Fault.RECORD if error.code() in _RECORD_FAULTS else Fault.PLACE


_FATAL = frozenset(
    {KafkaError._FATAL, KafkaError._FENCED, KafkaError._GAPLESS_GUARANTEE}
    | {KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, KafkaError.UNKNOWN_PRODUCER_ID, KafkaError.INVALID_PRODUCER_EPOCH}
    | {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}  # what we tell a producer that we give up
)
_PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})
_SIZE_FAULTS = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_MSG_SIZE})


def is_purged(error: KafkaError) -> bool:
    """Whether this record was given up by us, with its transaction or its producer."""
    return error.code() in _PURGED


def is_for_size(error: KafkaError) -> bool:
    """Whether a smaller record might be taken."""
    return error.code() in _SIZE_FAULTS


def is_for_age(error: KafkaError) -> bool:
    """Whether the same record might be taken with the present time: it waited longer than its topic allows."""
    return error.code() == KafkaError.INVALID_TIMESTAMP


def in_words(error: KafkaError) -> str:
    """One line for people and headers: the name users can look up, and the client's own text."""
    return f"{error.name()}: {error.str()}"


def in_full(topic: str, error: KafkaError) -> str:
    """One line for the operator: which topic, what Kafka says, and what to do where that is known."""
    said = f"{topic}: {in_words(error)}"
    way_out = _WAYS_OUT.get(error.code())
    return said if way_out is None else f"{said}; {way_out}"


_GONE = "the topic is gone: create it again, what belongs there waits in memory"
_DISK = "look at the brokers' disks and logs; what belongs there waits in memory"
_TOO_LARGE = "raise max.message.bytes on the topic, or lower events.max_bytes"
_REPLICAS = "see that all brokers run, or lower min.insync.replicas on the topic; what belongs there waits in memory"
_WAYS_OUT = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: _GONE,
    KafkaError._UNKNOWN_TOPIC: _GONE,
    KafkaError._UNKNOWN_PARTITION: "the topic has fewer partitions than it had: create it anew with as many",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "grant WRITE on the topic to the bridge's user",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "grant IDEMPOTENT_WRITE on the cluster to the bridge's user",
    KafkaError.MSG_SIZE_TOO_LARGE: _TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE: _TOO_LARGE,
    KafkaError.INVALID_RECORD: "the brokers' log says what is invalid",
    KafkaError.INVALID_TIMESTAMP: "raise message.timestamp.before.max.ms and message.timestamp.after.max.ms on the"
    " topic, and see that the clocks of this machine and of the brokers agree",
    KafkaError.POLICY_VIOLATION: "the brokers have a rule against it: ask who runs them",
    KafkaError.KAFKA_STORAGE_ERROR: _DISK,
    KafkaError.NOT_ENOUGH_REPLICAS: _REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND: _REPLICAS,
}
