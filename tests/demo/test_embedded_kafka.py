"""The demo's Kafka starts fast, serves any client, and ends completely."""

from __future__ import annotations

import socket
import uuid

import pytest
from confluent_kafka import Consumer, Producer

from bridge.clock import monotonic
from bridge.demo.embedded_kafka import EmbeddedKafka
from tests.support.waiting import TIMEOUT, wait_until


def test_records_go_in_and_come_out_while_it_runs():
    """Any client on this machine can produce and consume."""
    with EmbeddedKafka() as kafka:
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        for number in range(20):
            producer.produce("mix.events", str(number).encode(), key=b"same")
        assert producer.flush(TIMEOUT) == 0
        consumer = Consumer(
            {
                "bootstrap.servers": kafka.bootstrap_servers,
                "group.id": uuid.uuid4().hex,
                "auto.offset.reset": "earliest",
            }
        )
        consumer.subscribe(["mix.events"])
        values = [message.value() for message in consumer.consume(20, timeout=TIMEOUT)]
        consumer.close()
    assert values == [str(number).encode() for number in range(20)]


def test_it_can_have_several_brokers():
    with EmbeddedKafka(brokers=3) as kafka:
        assert len(set(kafka.bootstrap_servers.split(","))) == 3


def test_nothing_listens_after_stop():
    """``stop`` can be called twice."""
    kafka = EmbeddedKafka()
    host, port = kafka.start().split(":")
    kafka.stop()
    kafka.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=1).close()


def test_the_first_member_of_a_group_does_not_wait_for_others():
    """The default of three seconds would delay the demo's first event. One of some: the machine may be busy."""
    with EmbeddedKafka() as kafka:
        partitions = kafka.create_topic("mix.checkpoints")

        def seconds(group: str) -> float:
            assigned: list[int] = []
            consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": group})
            consumer.subscribe(["mix.checkpoints"], on_assign=lambda _, found: assigned.append(len(found)))
            began = monotonic()
            wait_until(lambda: consumer.poll(0.01) or assigned)
            took = monotonic() - began
            consumer.close()
            assert assigned == [partitions]
            return took

        assert any(seconds(f"mix.bridge-{number}") < 2.5 for number in range(5))
