"""Errors of the Kafka client: what they concern, and how they are reported."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from bridge.kafka.errors import ErrorScope, error_of, in_full, in_words, is_for_size, join_refusal, scope_of


@pytest.mark.parametrize(
    ("code", "scope"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, ErrorScope.RECORD),
        (KafkaError.RECORD_LIST_TOO_LARGE, ErrorScope.RECORD),
        (KafkaError.INVALID_RECORD, ErrorScope.RECORD),
        (KafkaError.INVALID_TIMESTAMP, ErrorScope.TOPIC),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, ErrorScope.TOPIC),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, ErrorScope.TOPIC),
        (KafkaError.NOT_ENOUGH_REPLICAS, ErrorScope.TOPIC),
        (KafkaError._UNKNOWN_TOPIC, ErrorScope.TOPIC),
        (KafkaError._PURGE_QUEUE, ErrorScope.FATAL),
        (KafkaError._PURGE_INFLIGHT, ErrorScope.FATAL),
        (KafkaError._ALL_BROKERS_DOWN, ErrorScope.TOPIC),
        (KafkaError._FATAL, ErrorScope.FATAL),
        (KafkaError._FENCED, ErrorScope.FATAL),
    ],
)
def test_an_error_concerns_the_record_the_topic_or_the_producer(code: int, scope: ErrorScope) -> None:
    """Only an error of the record itself may make it a dead letter."""
    assert scope_of(KafkaError(code)) is scope


def test_an_error_that_the_client_marks_as_fatal_is_fatal() -> None:
    """For every code."""
    assert scope_of(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "lost", fatal=True)) is ErrorScope.FATAL
    assert scope_of(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "lost", fatal=True)) is ErrorScope.FATAL


def test_the_error_in_an_exception_is_found() -> None:
    """Other exceptions have none."""
    error = KafkaError(KafkaError._FATAL, "lost", fatal=True)
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


@pytest.mark.parametrize(
    ("code", "key"),
    [
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "namespace"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "topics.checkpoints"),
        (KafkaError.INVALID_SESSION_TIMEOUT, "kafka.group_session_timeout"),
        (KafkaError.INCONSISTENT_GROUP_PROTOCOL, "namespace"),
        (KafkaError.GROUP_MAX_SIZE_REACHED, "kafka"),
        (KafkaError.INVALID_GROUP_ID, "namespace"),
    ],
)
def test_a_lasting_refusal_names_the_setting_and_the_fix(code: int, key: str) -> None:
    """The fix is after the semicolon, where ``check`` expects it."""
    error = join_refusal(KafkaError(code), "mix.bridge", "mix.checkpoints")
    assert error is not None
    (mistake,) = error.mistakes
    problem, semicolon, fix = mistake.message.partition("; ")
    assert mistake.key == key
    assert problem
    assert (semicolon, bool(fix), "{" in mistake.message) == ("; ", True, False)


@pytest.mark.parametrize("code", [KafkaError.NOT_COORDINATOR, KafkaError.REBALANCE_IN_PROGRESS, KafkaError._TIMED_OUT])
def test_a_temporary_error_is_no_refusal(code: int) -> None:
    """The request is sent again."""
    assert join_refusal(KafkaError(code), "mix.bridge", "mix.checkpoints") is None
