"""Errors of the Kafka client: what they concern, and how they are reported."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from bridge.kafka.errors import Fault, error_of, fault_of, in_full, in_words, is_for_size


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, Fault.RECORD),
        (KafkaError.RECORD_LIST_TOO_LARGE, Fault.RECORD),
        (KafkaError.INVALID_RECORD, Fault.RECORD),
        (KafkaError.INVALID_TIMESTAMP, Fault.PLACE),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, Fault.PLACE),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Fault.PLACE),
        (KafkaError.NOT_ENOUGH_REPLICAS, Fault.PLACE),
        (KafkaError._UNKNOWN_TOPIC, Fault.PLACE),
        (KafkaError._PURGE_QUEUE, Fault.FATAL),
        (KafkaError._PURGE_INFLIGHT, Fault.FATAL),
        (KafkaError._ALL_BROKERS_DOWN, Fault.PLACE),
        (KafkaError._FATAL, Fault.FATAL),
        (KafkaError._FENCED, Fault.FATAL),
    ],
)
def test_an_error_concerns_the_record_the_topic_or_the_producer(code: int, fault: Fault) -> None:
    """Only an error of the record itself may make it a dead letter."""
    assert fault_of(KafkaError(code)) is fault


def test_an_error_that_the_client_marks_as_fatal_is_fatal() -> None:
    """Whatever its code."""
    assert fault_of(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "lost", fatal=True)) is Fault.FATAL
    assert fault_of(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "lost", fatal=True)) is Fault.FATAL


def test_the_error_in_an_exception_is_found() -> None:
    """Other exceptions have none."""
    error = KafkaError(KafkaError._FATAL, "gone", fatal=True)
    assert error_of(KafkaException(error)) is error
    assert error_of(KafkaException("text")) is None
    assert error_of(KafkaException()) is None
    assert error_of(ValueError("x")) is None


def test_only_errors_of_size_allow_a_smaller_record() -> None:
    """A wrong timestamp stays wrong."""
    assert is_for_size(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
    assert not is_for_size(KafkaError(KafkaError.INVALID_TIMESTAMP))


def test_an_error_text_begins_with_a_name_to_look_up() -> None:
    """The client's text follows."""
    assert in_words(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "too big")) == "MSG_SIZE_TOO_LARGE: too big"


def test_an_operator_reads_the_topic_and_the_fix() -> None:
    """Without a known fix, only Kafka's error."""
    assert in_full("mix.events", KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "too big")) == (
        "mix.events: MSG_SIZE_TOO_LARGE: too big; raise max.message.bytes on the topic, or lower events.max_bytes"
    )
    assert in_full("mix.events", KafkaError(KafkaError.INVALID_MSG, "x")) == "mix.events: INVALID_MSG: x"
