"""Snapshots of a daemon without problems."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client import CollectorRegistry

from bridge.core.durations import Durations
from bridge.core.snapshot import (
    BridgeSnapshot,
    BrokerSnapshot,
    KafkaClientSnapshot,
    ServerSnapshot,
    SessionSnapshot,
    TopicSnapshot,
)
from bridge.observe.metrics.collector import FamilyCollector
from bridge.observe.metrics.of_bridge import WORKERS

WELL = BridgeSnapshot(
    version="1.2.3",
    namespace="mix",
    started_at_ms=1_700_000_000_000,
    restored=True,
    buffer_bytes=0,
    buffer_limit=100,
    checkpoints_written=0,
    kafka_last_answer_age=0.1,
)

BROKER = BrokerSnapshot("a:9092", is_connected=True, round_trip=0.002, round_trip_p99=0.03)
FULL = replace(
    WELL,
    servers={"local": ServerSnapshot(reachable=True, discovers=True)},
    sessions=(SessionSnapshot("local", "a", "streaming", oldest_unacknowledged_ms=1),),
    loops={"delivery": 0.1},
    certificates={"kafka.ssl_ca_file": 2_000_000_000.0},
    topics=(TopicSnapshot("mix.events", 8, changes={"recreated": 0}),),
    durations=Durations(["local"]).snapshot(),
    kafka_clients=(
        KafkaClientSnapshot(
            "events", brokers=(BrokerSnapshot("a:9092", is_connected=True, round_trip=0.0, round_trip_p99=0.0),)
        ),
    ),
)
"""One in which every metric has a sample."""


def of_two_workers() -> CollectorRegistry:
    """The own metrics of a process that supervises two workers."""
    registry = CollectorRegistry()
    registry.register(FamilyCollector(WORKERS, lambda: {1: (True, 0), 2: (False, 3)}))
    return registry
