"""The figures of librdkafka's statistics."""

from __future__ import annotations

import json
from typing import Any

from bridge.clock import monotonic
from bridge.core.snapshot import BrokerSnapshot, KafkaClientSnapshot
from bridge.kafka.producer import IdempotentProducer, ProducerSettings, Role
from bridge.kafka.statistics import ProducerStatistics, client_of, librdkafka_version
from tests.fakes.clock import ManualClock


def report(name: str, records: int = 3) -> dict[str, Any]:
    """The fields of STATISTICS.md that are read."""
    rtt = {"avg": 2500, "p99": 40000}
    brokers = {
        "a:9092/1": {"nodeid": 1, "nodename": "a:9092", "state": "UP", "rtt": rtt},
        "bootstrap:9092/bootstrap": {"nodeid": -1, "nodename": "", "state": "UP", "rtt": rtt},
        "b:9092/2": {"nodeid": 2, "nodename": "b:9092", "state": "INIT", "rtt": {"avg": 0, "p99": 0}},
    }
    return {"name": name, "msg_cnt": records, "msg_size": 10 * records, "brokers": brokers}


A = BrokerSnapshot("a:9092", is_connected=True, round_trip=0.0025, round_trip_p99=0.04)
B = BrokerSnapshot("b:9092", is_connected=False, round_trip=0.0, round_trip_p99=0.0)


def test_queues_and_round_trips_are_read() -> None:
    """In seconds; the names of the bootstrap list are no brokers."""
    assert client_of("events", report("one")) == KafkaClientSnapshot("events", 3, 30, (A, B))


def test_the_producers_of_a_role_are_added_up() -> None:
    """Each by its last report."""
    statistics = ProducerStatistics()
    note = statistics.properties("shards")["stats_cb"]
    for each in (report("one", 5), report("two", 2), report("one", 3)):
        note(json.dumps(each))
    assert statistics.snapshot() == (KafkaClientSnapshot("shards", 5, 50, (A, B, A, B)),)


def test_a_producer_that_was_replaced_is_forgotten() -> None:
    """After three intervals without a report: its queue is gone."""
    clock = ManualClock()
    statistics = ProducerStatistics(clock)
    note = statistics.properties("events")["stats_cb"]
    note(json.dumps(report("one", 5)))
    clock.advance(31.0)
    assert statistics.snapshot() == ()
    note(json.dumps(report("two", 2)))
    (client,) = statistics.snapshot()
    assert client.queued_records == 2


def test_brokers_that_the_client_forgets_in_an_outage_are_shown_as_not_connected() -> None:
    """It starts from its bootstrap list again; an absent series would hide the outage."""
    statistics = ProducerStatistics()
    note = statistics.properties("events")["stats_cb"]
    for each in (report("one"), report("one") | {"brokers": {}}):
        note(json.dumps(each))
    (client,) = statistics.snapshot()
    assert [(each.name, each.is_connected) for each in client.brokers] == [("a:9092", False), ("b:9092", False)]


def test_a_report_of_another_form_is_ignored() -> None:
    """An exception in the callback would come out of the producer's poll, and end the producer."""
    statistics = ProducerStatistics()
    note = statistics.properties("events")["stats_cb"]
    for text in ("no json", "[]", "{}", '{"name": "x", "msg_cnt": 1, "msg_size": 1, "brokers": {"a": {}}}'):
        note(text)
    assert statistics.snapshot() == ()


def test_a_real_producer_reports() -> None:
    """What librdkafka sends has these fields; no broker is needed for it."""
    statistics = ProducerStatistics()
    fast = statistics.properties("events") | {"statistics.interval.ms": 50}
    producer = IdempotentProducer(ProducerSettings({"bootstrap.servers": "127.0.0.1:1", **fast}, 1000), Role.EVENTS)
    deadline = monotonic() + 10.0
    while not statistics.snapshot() and monotonic() < deadline:
        producer.poll(0.05)
    assert statistics.snapshot() == (KafkaClientSnapshot("events"),)
    producer.abandon()


def test_the_version_of_librdkafka_is_known() -> None:
    """As numbers with dots."""
    assert all(part.isdigit() for part in librdkafka_version().partition("-")[0].split("."))
