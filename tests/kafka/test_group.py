"""The messages of group members, as real clients encoded them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.kafka.group import assigned, subscribed

# From librdkafka 2.16 and Kafka 4.1, for one member with four partitions.
SUBSCRIPTION = bytes.fromhex("0003 00000001 000d") + b"p1-1795440925" + bytes.fromhex("00000000 00000000 ffffffff 0000")
ASSIGNMENT = (
    bytes.fromhex("0000 00000001 000d")
    + b"p1-1795440925"
    + bytes.fromhex("00000004 00000000 00000001 00000002 00000003 00000000")
)
TWO_TOPICS = bytes.fromhex("0001 00000002 0001 61 00000000 0001 62 00000001 00000007")


def test_the_topics_and_partitions_of_a_member_are_decoded() -> None:
    assert subscribed(SUBSCRIPTION) == {"p1-1795440925"}
    assert assigned(ASSIGNMENT) == {"p1-1795440925": {0, 1, 2, 3}}
    assert assigned(TWO_TOPICS) == {"a": frozenset(), "b": {7}}


@pytest.mark.parametrize("cut", range(len(ASSIGNMENT) - 4))
def test_a_truncated_message_has_no_content(cut: int) -> None:
    assert assigned(ASSIGNMENT[:cut]) == {}


@given(st.binary(max_size=60))
def test_messages_of_other_protocols_are_no_error(message: bytes) -> None:
    subscribed(message)
    assigned(message)
