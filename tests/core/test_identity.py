"""Keys, epochs, and the partition that a Java client chooses."""

from __future__ import annotations

import pytest
from confluent_kafka import Message, Producer
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.identity import Position, SessionKey, murmur2, new_epoch, partition_of
from tests.support.waiting import TIMEOUT, wait_until

SECONDS = st.integers(0, 10**10)


# org.apache.kafka.common.utils.UtilsTest.testMurmur2 of Apache Kafka: the hashes before ``toPositive``.
@pytest.mark.parametrize(
    ("key", "java"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_the_java_clients(key: bytes, java: int) -> None:
    """The vectors of Kafka's own test."""
    assert murmur2(key) == java & 0x7FFFFFFF


def test_the_partition_is_the_one_librdkafka_chooses() -> None:
    """The bridge's partition for checkpoints equals the client's for records, for keys of every length."""
    producer = Producer(
        {"test.mock.num.brokers": 1, "bootstrap.servers": "", "partitioner": "murmur2_random", "log_level": 0}
    )
    partitions = len(producer.list_topics("t", timeout=TIMEOUT).topics["t"].partitions)
    keys = [(f"local/sesión-{'x' * length}").encode() for length in range(40)]
    found: dict[bytes, int | None] = {}

    def note(_error: object, message: Message) -> None:
        key = message.key()
        assert isinstance(key, bytes)
        found[key] = message.partition()

    for key in keys:
        producer.produce("t", b"", key=key, on_delivery=note)
    wait_until(lambda: producer.poll(0.1) >= 0 and len(found) == len(keys), what="all reports")
    assert found == {key: partition_of(key, partitions) for key in keys}


@given(key=st.binary(max_size=100), partitions=st.integers(1, 1000))
def test_every_key_has_a_partition(key: bytes, partitions: int) -> None:
    """Never negative, never beyond the last."""
    assert 0 <= partition_of(key, partitions) < partitions


@given(previous=SECONDS, now=SECONDS)
def test_epochs_rise_even_when_the_clock_goes_back(previous: int, now: int) -> None:
    """The next epoch is above the last one, and not before the present time."""
    assert new_epoch(previous, now) >= max(previous + 1, now)
    assert new_epoch(None, now) == now


def test_a_session_key_is_text_and_bytes_alike() -> None:
    """The text for people and the key in Kafka have the same characters."""
    key = SessionKey("local", "ses/sión")
    assert str(key) == "local/ses/sión"
    assert key.record_key == "local/ses/sión".encode()
    assert sorted([SessionKey("b", "1"), SessionKey("a", "2")]) == [SessionKey("a", "2"), SessionKey("b", "1")]


def test_positions_compare_by_epoch_then_sequence() -> None:
    """A new epoch is above every number of the old one."""
    assert Position(2, 1, "5") > Position(1, 999, "9")
