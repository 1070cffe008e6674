"""Reading topics to a fixed end: ranges, time, transactions, and records that retention removed."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka import Producer

from bridge.errors import FatalFault, Unreachable
from bridge.kafka.reader import StoredRecord
from bridge.kafka.topic_reader import OffsetRange, offset_ranges, read
from tests.support.topics import create_topic, remove_before
from tests.support.waiting import TIMEOUT

KEPT = {"retention.ms": "-1"}
"""The records of these tests have timestamps of 1970."""


def config(kafka: str) -> dict[str, object]:
    """Return a client's configuration."""
    return {"bootstrap.servers": kafka}


def produce(kafka: str, topic: str, count: int, partition: int = 0, first_ms: int = 1_000_000) -> None:
    """Produce records whose value is their number, each a second later."""
    producer = Producer({"bootstrap.servers": kafka, "log_level": 2})
    for number in range(count):
        producer.produce(topic, str(number), b"k", partition=partition, timestamp=first_ms + number * 1000)
    assert producer.flush(TIMEOUT) == 0


def numbers(batches: object) -> list[int]:
    """Return the values of the records, in order."""
    return [int(record.value) for batch in batches for record in batch]  # type: ignore[attr-defined]


def test_all_partitions_are_read_in_order_up_to_their_fixed_end(kafka: str, namespace: str) -> None:
    """Later records are left out; empty partitions and topics that do not exist are ignored."""
    create_topic(kafka, namespace, 3, KEPT)
    produce(kafka, namespace, 5000, 0)
    produce(kafka, namespace, 7, 2)
    fixed = offset_ranges(config(kafka), [namespace, f"{namespace}-is-not-there"])
    produce(kafka, namespace, 10, 0)
    produce(kafka, namespace, 10, 1)
    steps: list[tuple[int, int]] = []
    found = list(read(config(kafka), fixed, progress=lambda *step: steps.append(step)))
    by_partition: dict[int, list[StoredRecord]] = {}
    for record in (record for batch in found for record in batch):
        by_partition.setdefault(record.partition, []).append(record)
    assert [record.offset for record in by_partition[0]] == list(range(5000))
    assert [record.offset for record in by_partition[2]] == list(range(7))
    assert set(by_partition) == {0, 2}
    assert steps[-1] == (5007, 5007)
    assert by_partition[2][3] == StoredRecord(namespace, 2, 3, b"k", b"3", (), 1_003_000)


def test_a_time_leaves_out_older_records(kafka: str, namespace: str) -> None:
    """A partition without younger records counts as cut, with nothing to read."""
    create_topic(kafka, namespace, 2, KEPT)
    produce(kafka, namespace, 10, 0, 1_000_000)
    produce(kafka, namespace, 10, 1, 500_000)
    fixed = offset_ranges(config(kafka), [namespace], since_ms=1_004_000)
    assert fixed == [OffsetRange(namespace, 0, 4, 10), OffsetRange(namespace, 1, 10, 10)]
    assert all(each.is_cut for each in fixed)
    assert numbers(read(config(kafka), fixed)) == [4, 5, 6, 7, 8, 9]


def test_the_first_record_of_each_range_can_be_read_alone(kafka: str, namespace: str) -> None:
    """One record per partition."""
    create_topic(kafka, namespace, 2, KEPT)
    produce(kafka, namespace, 10, 0)
    produce(kafka, namespace, 10, 1)
    found = [
        record
        for batch in read(config(kafka), offset_ranges(config(kafka), [namespace]), heads_only=True)
        for record in batch
    ]
    assert sorted((record.partition, record.offset) for record in found) == [(0, 0), (1, 0)]


def test_aborted_records_are_left_out(kafka: str, namespace: str) -> None:
    """The end after them is reached."""
    create_topic(kafka, namespace, 1, KEPT)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": namespace, "log_level": 2})
    producer.init_transactions(TIMEOUT)
    for value, commit in (("1", True), ("2", False)):
        producer.begin_transaction()
        producer.produce(namespace, value)
        producer.flush(TIMEOUT)
        producer.commit_transaction(TIMEOUT) if commit else producer.abort_transaction(TIMEOUT)
    assert numbers(read(config(kafka), offset_ranges(config(kafka), [namespace]))) == [1]


def test_an_open_transaction_blocks_the_end_for_a_while(kafka: str, namespace: str) -> None:
    """The end is reached once it commits; after the time-out the error names the partition."""
    create_topic(kafka, namespace, 1, KEPT)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": namespace, "log_level": 2})
    producer.init_transactions(TIMEOUT)
    producer.begin_transaction()
    producer.produce(namespace, "1")
    assert producer.flush(TIMEOUT) == 0
    fixed = offset_ranges(config(kafka), [namespace])
    with pytest.raises(Unreachable, match=rf"{namespace} partition 0 \(at 0 of 1\) cannot be read.*transaction"):
        list(read(config(kafka), fixed, timeout=0.5))
    committing = threading.Timer(0.4, lambda: producer.commit_transaction(TIMEOUT))
    committing.start()
    assert numbers(read(config(kafka), fixed)) == [1]
    committing.join()


def test_records_removed_before_they_are_read_are_an_error(kafka: str, namespace: str) -> None:
    """To continue after them would make them look lost."""
    create_topic(kafka, namespace, 1, KEPT)
    produce(kafka, namespace, 10)
    fixed = offset_ranges(config(kafka), [namespace])
    remove_before(kafka, namespace, 5)
    with pytest.raises(FatalFault, match="start again"):
        list(read(config(kafka), fixed))
    assert offset_ranges(config(kafka), [namespace]) == [OffsetRange(namespace, 0, 5, 10, 5)]
