"""What the group says to one who would join it, as errors with a setting and a way out."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from bridge.kafka.group_errors import connection_failure_to_joining


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
def test_what_the_group_will_never_allow_has_a_setting_and_a_way_out(code: int, key: str) -> None:
    """After the semicolon, where ``check`` looks for it."""
    error = connection_failure_to_joining(KafkaError(code), "mix.bridge", "mix.checkpoints")
    assert error is not None
    (mistake,) = error.mistakes
    what, semicolon, way_out = mistake.message.partition("; ")
    assert mistake.key == key
    assert what
    assert (semicolon, bool(way_out), "{" in mistake.message) == ("; ", True, False)


@pytest.mark.parametrize("code", [KafkaError.NOT_COORDINATOR, KafkaError.REBALANCE_IN_PROGRESS, KafkaError._TIMED_OUT])
def test_what_may_pass_is_no_obstacle(code: int) -> None:
    """It is asked again."""
    assert connection_failure_to_joining(KafkaError(code), "mix.bridge", "mix.checkpoints") is None
