"""What a coordinator shows of a group's members, as real clients wrote it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.kafka.group_protocol import assigned, subscribed

# As librdkafka 2.16 and Kafka 4.1 wrote them for one member with four partitions.
SUBSCRIPTION = bytes.fromhex("0003 00000001 000d") + b"p1-1795440925" + bytes.fromhex("00000000 00000000 ffffffff 0000")
ASSIGNMENT = (
    bytes.fromhex("0000 00000001 000d")
    + b"p1-1795440925"
    + bytes.fromhex("00000004 00000000 00000001 00000002 00000003 00000000")
)
TWO_TOPICS = bytes.fromhex("0001 00000002 0001 61 00000000 0001 62 00000001 00000007")


def test_what_a_member_shares_and_has_is_read() -> None:
    assert subscribed(SUBSCRIPTION) == {"p1-1795440925"}
    assert assigned(ASSIGNMENT) == {"p1-1795440925": {0, 1, 2, 3}}
    assert assigned(TWO_TOPICS) == {"a": frozenset(), "b": {7}}


@pytest.mark.parametrize("cut", range(len(ASSIGNMENT) - 4))
def test_a_message_cut_short_says_nothing(cut: int) -> None:
    assert assigned(ASSIGNMENT[:cut]) == {}


@given(st.binary(max_size=60))
def test_whatever_other_protocols_write_is_no_error(message: bytes) -> None:
    subscribed(message)
    assigned(message)
