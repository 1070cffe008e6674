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
_SIZE_FAULTS = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_MSG_SIZE})


def is_for_size(error: KafkaError) -> bool:
    """Whether a smaller record might be taken."""
    return error.code() in _SIZE_FAULTS


def in_words(error: KafkaError) -> str:
    """One line for people and headers: the name users can look up, and the client's own text."""
    return f"{error.name()}: {error.str()}"
