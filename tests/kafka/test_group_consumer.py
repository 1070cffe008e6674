"""What the answers to commits mean for a member whose process has joined again under the same name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.records.member_metadata import MemberMetadata, encode
from bridge.kafka.connection_failures import ClientErrors
from bridge.kafka.group import assigned, subscribed
from bridge.kafka.group_consumer import GroupConsumer, GroupSettings
from tests.fakes.group_listener import Listener

METADATA = MemberMetadata("pod-1:7", "pod-1", "run", "f", "1")
FENCED = KafkaError(KafkaError.FENCED_INSTANCE_ID)


@dataclass
class Client:
    """A client whose group assigns nothing new by itself."""

    member_id: str = "pod-1-a"

    def memberid(self) -> str:
        return self.member_id

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        """Do nothing."""

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Do nothing."""

    def commit(self, **_: Any) -> None:
        """Do nothing: the test answers."""


class Member:
    """A static member with one shard."""

    def __init__(self) -> None:
        self.client, self.listener = Client(), Listener()
        settings = GroupSettings({}, "g", "t", 1, "pod-1", 6.0)
        self.consumer = GroupConsumer(settings, self.listener, ClientErrors({}, "membership"))
        self.consumer._consumer.close()
        self.consumer._consumer = self.client  # type: ignore[assignment]
        self.assign()

    def assign(self) -> None:
        self.consumer._on_assign(self.client, [TopicPartition("t", 0)])  # type: ignore[arg-type]

    def commit(self, heartbeat: int) -> None:
        self.consumer.commit([0], METADATA.at(heartbeat))

    def answer(self, heartbeat: int, error: KafkaError | None) -> None:
        place = TopicPartition("t", 0, 0, encode(METADATA.at(heartbeat)))
        self.consumer._on_commit(error, [place])


@pytest.fixture
def member() -> Member:
    return Member()


def test_a_commit_that_is_fenced_ends_the_member(member: Member) -> None:
    """Another process has its name."""
    member.commit(1)
    member.answer(1, FENCED)
    assert member.consumer.fatal is not None
    assert member.listener.answers == [(1, False)]


def test_a_process_that_joins_again_is_not_a_duplicate_of_itself(member: Member) -> None:
    """Its own later request has fenced its former member id; a proof of that id is worth nothing either."""
    member.commit(1)
    member.commit(2)
    member.client.member_id = ""  # the session timed out: the client joins again
    member.answer(1, FENCED)
    assert member.consumer.fatal is None
    assert member.consumer.take_expelled()
    member.client.member_id = "pod-1-b"
    member.assign()
    member.answer(2, FENCED)
    assert member.consumer.fatal is None
    assert not member.consumer.take_expelled()
    member.commit(3)
    member.answer(3, None)
    assert member.listener.answers == [(1, False), (2, False), (3, True)]


def test_a_duplicate_fences_the_later_member_id_too(member: Member) -> None:
    member.client.member_id = "pod-1-b"
    member.assign()
    member.commit(1)
    member.answer(1, FENCED)
    assert member.consumer.fatal is not None


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
