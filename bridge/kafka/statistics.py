"""The statistics that librdkafka reports about its producers: queues, and the round trips of each broker."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from confluent_kafka import libversion

from bridge.clock import monotonic
from bridge.core.snapshot import BrokerSnapshot, KafkaClientSnapshot

_INTERVAL = 10.0
"""Seconds between two reports of a client. One report of a producer of 100 partitions is parsed in a millisecond."""
_OUTDATED = 3 * _INTERVAL
"""Seconds without a report after which a producer was replaced, or is not polled any more."""


def librdkafka_version() -> str:
    """The version of the C library."""
    return libversion()[0]


class ProducerStatistics:
    """The last report of each producer.

    Thread rule: ``properties`` and ``snapshot`` are for any thread; reports come in the threads that poll.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._reports: dict[str, tuple[float, KafkaClientSnapshot]] = {}

    def properties(self, role: str) -> dict[str, Any]:
        """What makes a producer of this role report. Only for one that is polled: reports wait in its queue."""
        return {"statistics.interval.ms": round(_INTERVAL * 1000), "stats_cb": partial(self._note, role)}

    def snapshot(self) -> tuple[KafkaClientSnapshot, ...]:
        """One for each role, its producers taken together."""
        present = self._now() - _OUTDATED
        by_role: dict[str, list[KafkaClientSnapshot]] = {}
        for noted_at, client in tuple(self._reports.values()):
            if noted_at >= present:
                by_role.setdefault(client.role, []).append(client)
        return tuple(_together(role, clients) for role, clients in sorted(by_role.items()))

    def _note(self, role: str, report: str) -> None:
        now = self._now()
        try:
            parsed = json.loads(report)
            client, name = client_of(role, parsed), str(parsed["name"])
        except (ValueError, LookupError, TypeError, AttributeError):  # of another version of librdkafka: no figures
            return  # an exception here would come out of the producer's poll, and end the producer
        if not client.brokers and name in self._reports:
            # Without any connection librdkafka forgets the brokers and begins with its bootstrap list again (KIP-899).
            lost = partial(replace, is_connected=False, round_trip=0.0, round_trip_p99=0.0)
            brokers = tuple(map(lost, self._reports[name][1].brokers))
            client = replace(client, brokers=brokers)
        kept = {other: each for other, each in tuple(self._reports.items()) if each[0] >= now - _OUTDATED}
        self._reports = {**kept, name: (now, client)}


def client_of(role: str, report: Mapping[str, Any]) -> KafkaClientSnapshot:
    """The figures in one report; librdkafka's STATISTICS.md has its fields. Pure."""
    brokers = [each for each in report.get("brokers", {}).values() if each["nodeid"] >= 0]  # others are bootstrap names
    return KafkaClientSnapshot(role, report["msg_cnt"], report["msg_size"], tuple(map(_broker, brokers)))


def _broker(report: Mapping[str, Any]) -> BrokerSnapshot:
    times = report["rtt"]  # in microseconds
    return BrokerSnapshot(report["nodename"], report["state"] == "UP", times["avg"] / 1e6, times["p99"] / 1e6)


def _together(role: str, every: Sequence[KafkaClientSnapshot]) -> KafkaClientSnapshot:
    return KafkaClientSnapshot(
        role,
        sum(each.queued_records for each in every),
        sum(each.queued_bytes for each in every),
        tuple(broker for each in every for broker in each.brokers),
    )
