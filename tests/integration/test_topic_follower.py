"""Following topics: records that Kafka removed, of aborted transactions, or that it does not hand out yet."""

from __future__ import annotations

import io
from contextlib import closing

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from bridge.admin.kafka_access import KafkaAccess
from bridge.admin.tail.lines import TailFilter
from bridge.admin.tail.output import JsonOutput
from bridge.admin.tail.tail import ConnectionCheck, Tail, TailRequest
from bridge.consumer import CONFIG, Events
from bridge.kafka.follower import TopicFollower
from bridge.settings import load
from tests.consumer import records
from tests.support.topics import create_topic, remove_before
from tests.support.waiting import TIMEOUT, wait_until

LAST = 7
"""The number of the last event."""


@pytest.fixture
def topic(kafka: str, namespace: str) -> str:
    """A topic with one partition; some records of these tests are old."""
    create_topic(kafka, namespace, 1, {"retention.ms": "-1"})
    return namespace


def send(producer: Producer, topic: str, *values: str) -> None:
    """Write these values and wait until Kafka has acknowledged them."""
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(TIMEOUT) == 0


def test_records_that_were_removed_before_they_were_read_are_counted(kafka: str, topic: str) -> None:
    """It continues with the oldest record that is left."""
    notes: list[str] = []
    is_begun = False

    def is_gone() -> bool:
        """Called first when the end is known and nothing was read."""
        nonlocal is_begun
        if not is_begun:
            is_begun = True
            send(Producer({"bootstrap.servers": kafka}), topic, *"abcde")
            remove_before(kafka, topic, 3)
        return run.foreign > 0

    request = TailRequest(topics=[topic], selection=TailFilter(), seconds=60.0)
    access = KafkaAccess.of(load({"kafka.bootstrap_servers": kafka}, {}))
    run = Tail(access, request, JsonOutput(io.StringIO()), notes.append, is_gone)
    run.run()
    assert (run.foreign, notes[0]) == (2, "Kafka removed 3 records before they were read")


def test_the_library_passes_over_removed_and_aborted_records(kafka: str, topic: str) -> None:
    """Or it raises, for a program that must not miss an event in silence."""
    made = [records.record(number) for number in range(1, LAST + 1)]
    records.send(kafka, topic, *made[:5])
    aborting = Producer({"bootstrap.servers": kafka, "transactional.id": topic, "log_level": 2})
    aborting.init_transactions(TIMEOUT)
    aborting.begin_transaction()
    aborting.produce(topic, made[5].value, made[5].key, headers=dict(made[5].headers))
    assert aborting.flush(TIMEOUT) == 0
    aborting.abort_transaction(TIMEOUT)
    records.send(kafka, topic, made[-1])
    remove_before(kafka, topic, 3)
    assert consumed(kafka, topic) == [4, 5, LAST]
    with pytest.raises(KafkaException, match="Offset out of range"):
        consumed(kafka, topic, **{"auto.offset.reset": "error"})


def consumed(kafka: str, topic: str, **more: str) -> list[int]:
    """The numbers of what the library yields from the second record on, up to the last one."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": topic, **CONFIG, **more})
    consumer.assign([TopicPartition(topic, 0, 1)])
    found: list[int] = []
    with closing(consumer):
        for event in Events(consumer, idle_timeout=TIMEOUT, commit_interval=None):
            found.append(event.number)
            if event.number == LAST:
                break
    return found


def test_an_open_transaction_is_named_while_it_hides_records(kafka: str, topic: str) -> None:
    """Silence would look like a quiet agent. The offsets of ended transactions are no records that wait."""
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": topic, "log_level": 2})
    producer.init_transactions(TIMEOUT)
    notes: list[str] = []
    now = 0.0
    follower = TopicFollower({"bootstrap.servers": kafka}, {(topic, 0): 0})
    check = ConnectionCheck(follower, notes.append, lambda: now)

    def ask() -> bool:
        nonlocal now
        now += 11
        check.look(has_answered=bool(follower.poll(10, 0.1)))
        return bool(notes)

    producer.begin_transaction()
    send(producer, topic, "hidden")
    send(Producer({"bootstrap.servers": kafka}), topic, "behind it")
    wait_until(ask, 30, "a note")
    assert notes[0] == "2 records cannot be read yet: a transaction of their producer is open"
    producer.abort_transaction(TIMEOUT)
    wait_until(lambda: [each.value for each in follower.poll(10, 0.1)] == [b"behind it"], 30, "the other record")
    wait_until(lambda: follower.poll(10, 0.1) == [] and follower.lag() == 0, 30, "no lag")
    follower.close()
