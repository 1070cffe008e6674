"""Following topics: records that Kafka removed, and records that it does not hand out yet."""

from __future__ import annotations

import io

import pytest
from confluent_kafka import Producer, TopicPartition

from bridge.admin.kafka_access import KafkaAccess
from bridge.admin.tail.output import JsonOutput
from bridge.admin.tail.selection import TailFilter
from bridge.admin.tail.tail import ConnectionCheck, Tail, TailRequest
from bridge.kafka.follower import TopicFollower
from bridge.settings import load
from tests.support.broker import quiet_admin
from tests.support.topics import create_topic
from tests.support.waiting import TIMEOUT, wait_until


@pytest.fixture
def topic(kafka: str, namespace: str) -> str:
    """A topic with one partition."""
    create_topic(kafka, namespace, 1)
    return namespace


def send(producer: Producer, topic: str, *values: str) -> None:
    """Write these values and wait until Kafka has acknowledged them."""
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(TIMEOUT) == 0


def test_records_that_were_removed_before_they_were_read_are_counted(kafka: str, topic: str) -> None:
    """It continues with the oldest record that is left."""
    admin = quiet_admin(kafka)  # a variable: a client without references cancels its requests
    notes: list[str] = []
    is_begun = False

    def is_gone() -> bool:
        """Called first when the end is known and nothing was read."""
        nonlocal is_begun
        if not is_begun:
            is_begun = True
            send(Producer({"bootstrap.servers": kafka}), topic, *"abcde")
            place = TopicPartition(topic, 0, 3)
            admin.delete_records([place])[place].result(TIMEOUT)
        return run.foreign > 0

    request = TailRequest(topics=[topic], selection=TailFilter(), seconds=60.0)
    access = KafkaAccess.of(load({"kafka.bootstrap_servers": kafka}, {}))
    run = Tail(access, request, JsonOutput(io.StringIO()), notes.append, is_gone)
    run.run()
    assert (run.foreign, notes[0]) == (2, "Kafka removed 3 records before they were read")


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
