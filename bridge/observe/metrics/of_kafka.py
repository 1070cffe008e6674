"""The metrics of Kafka, its topics, and the shards of this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from bridge.core.snapshot import BrokerSnapshot, KafkaClientSnapshot
from bridge.observe.metrics.family import Family, Kind, Samples, Scrape, by_name, one

_OWNED = "owned"


def _shards(scrape: Scrape) -> Samples:
    return by_name({_OWNED: 0, **Counter(each.stage for each in scrape.snapshot.replica.shards)})


def _changes(scrape: Scrape) -> Samples:
    topics = scrape.snapshot.topics
    return {(each.name, change): count for each in topics for change, count in each.changes.items()}


def _of_brokers(value: Callable[[BrokerSnapshot], float]) -> Callable[[Scrape], Samples]:
    """Of each broker the largest value: several clients are connected to it."""

    def values(scrape: Scrape) -> Samples:
        found: dict[str, float] = {}
        for broker in (broker for client in scrape.snapshot.kafka_clients for broker in client.brokers):
            found[broker.name] = max(found.get(broker.name, 0.0), value(broker))
        return by_name(found)

    return values


def _of_clients(value: Callable[[KafkaClientSnapshot], int]) -> Callable[[Scrape], Samples]:
    return lambda scrape: by_name({each.role: value(each) for each in scrape.snapshot.kafka_clients})


_SLOW_BROKER = "If one broker is slower than the others, look at its load, its disks and the network."

FAMILIES = (
    Family(
        "kafka_last_answer_timestamp_seconds", Kind.GAUGE, (),
        "Unix time at which Kafka last acknowledged a record or answered; 0: not yet.",
        lambda scrape: one(scrape.ago(scrape.snapshot.kafka_last_answer_age)),
        "After 10 s /readyz is 503: check the brokers, the network, and the credentials. Events wait in memory.",
    ),
    Family(
        "kafka_broker_connected", Kind.GAUGE, ("broker",), "1 while a producer has a connection to the broker.",
        _of_brokers(lambda broker: int(broker.is_connected)),
        "Brokers that lead no partition of these topics may stay 0.",
    ),
    Family(
        "kafka_round_trip_seconds", Kind.GAUGE, ("broker",),
        "Average time of a broker's answers, over ten seconds (statistics of librdkafka).",
        _of_brokers(lambda broker: broker.round_trip),
        _SLOW_BROKER,
    ),
    Family(
        "kafka_round_trip_p99_seconds", Kind.GAUGE, ("broker",),
        "99th percentile of the time of a broker's answers, over ten seconds.",
        _of_brokers(lambda broker: broker.round_trip_p99),
        _SLOW_BROKER,
    ),
    Family(
        "kafka_queued_records", Kind.GAUGE, ("client",),
        "Records that the producers of this role hold and Kafka has not acknowledged, every ten seconds.",
        _of_clients(lambda client: client.queued_records),
        "If it grows, Kafka is slower than the servers.",
    ),
    Family(
        "kafka_queued_bytes", Kind.GAUGE, ("client",), "The bytes of those records.",
        _of_clients(lambda client: client.queued_bytes),
    ),
    Family(
        "topic_trouble", Kind.GAUGE, ("topic",),
        "1 when records cannot be written to the topic, or would be lost there.",
        lambda scrape: {(each.name,): int(each.trouble is not None) for each in scrape.snapshot.topics},
        "The log and /api/status have the problem and the fix.",
    ),
    Family(
        "topic_changes", Kind.COUNTER, ("topic", "change"),
        "Changes of a topic while the bridge runs: recreated, partitions or limit.", _changes,
        "See the table of changed topics in docs/operations.md.",
    ),
    Family(
        "namespace_shards", Kind.GAUGE, (), "All shards of the namespace: each must be owned by one replica.",
        lambda scrape: one(scrape.snapshot.replica.shard_count),
    ),
    Family(
        "shards", Kind.GAUGE, ("state",), "Shards that the group has assigned to this process, by state.", _shards,
        "Only owned shards are bridged: /api/status says why one is not.",
    ),
    Family(
        "assignments", Kind.COUNTER, (), "Shards that the group has assigned to this process.",
        lambda scrape: one(scrape.snapshot.replica.assignments),
        "If it keeps rising, replicas come and go: look for restarts, and for processes that stall.",
    ),
)  # fmt: skip
