"""Why a group refuses a member, as errors with a setting and a fix."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from bridge.kafka.group_errors import join_refusal


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
