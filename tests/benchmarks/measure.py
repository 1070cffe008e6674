"""One measurement: how fast the records of one run appear in Kafka, and the resources of the processes meanwhile.

Only the high watermarks of the topic count, so that all bridges are measured alike.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from bridge.clock import monotonic
from tests.support.broker import quiet_admin
from tests.support.usage import memory
from tests.support.waiting import TIMEOUT

# Twenty requests a second cost the broker little; runs take seconds.
_INTERVAL = 0.05
_QUIET = 1.0
"""Seconds without a new offset after which all transactions and their markers are complete."""
_TICKS = os.sysconf("SC_CLK_TCK")


class Sample(NamedTuple):
    """The state at one moment."""

    at: float
    records: int
    cpu: Mapping[str, float]
    """Seconds of processor time of each process so far."""


class Measured(NamedTuple):
    """The result of one run, from the first to the last acknowledged record."""

    events_per_second: float
    cpu_us_per_event: Mapping[str, float]
    """Of each process, or of all processes with one name together."""
    peak_rss_mib: float
    """Of the bridge."""


class Stalled(RuntimeError):
    """The bridge under test ended or stalled before all records were in Kafka."""


def measure(  # noqa: PLR0913 - the topic, the processes and the limits
    bootstrap: str,
    topic: str,
    expected: int,
    processes: Mapping[str, Sequence[int]],
    *,
    markers: bool = False,
    stall_timeout: float = 30.0,
) -> Measured:
    """Watch ``topic`` until it holds ``expected`` records; ``processes`` are pids by name, some are ``bridge``.

    ``markers``: commits use offsets too, so that the run ends when no offset changes any more. `Stalled` when no record
    arrives for ``patience`` seconds or a process ends.
    """
    watch = _Watch(bootstrap, topic, processes)
    first = last = watch.sample()
    never = threading.Event()
    while True:
        never.wait(_INTERVAL)
        now = watch.sample()
        if not first.records:
            first = now
        last = now if now.records > last.records else last
        still = now.at - last.at
        if last.records >= expected and (still > _QUIET or not markers):
            return _outcome(first, last, expected, sum(memory(pid, "VmHWM") / 2**20 for pid in processes["bridge"]))
        if still > stall_timeout:
            raise Stalled(f"{now.records} of {expected} records, then nothing for {stall_timeout:g} s")


def _outcome(first: Sample, last: Sample, expected: int, peak_rss_mib: float) -> Measured:
    records = expected - first.records
    if records <= 0:
        raise Stalled("all records arrived between two samples: too few events to measure")
    used = {name: (last.cpu[name] - first.cpu[name]) / records * 1e6 for name in last.cpu}
    return Measured(records / (last.at - first.at), used, peak_rss_mib)


class _Watch:
    def __init__(self, bootstrap: str, topic: str, processes: Mapping[str, Sequence[int]]) -> None:
        self._admin: AdminClient = quiet_admin(bootstrap)
        partitions = self._admin.list_topics(topic, timeout=TIMEOUT).topics[topic].partitions
        self._ends = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in partitions}
        self._processes = processes

    def sample(self) -> Sample:
        asked = self._admin.list_offsets(self._ends, request_timeout=TIMEOUT)
        records = sum(found.result(TIMEOUT).offset for found in asked.values())
        cpu = {name: sum(map(_cpu_seconds, pids)) for name, pids in self._processes.items()}
        return Sample(monotonic(), records, cpu)


def _cpu_seconds(pid: int) -> float:
    try:
        # The command's name in brackets may hold blanks; utime and stime are the 12th and 13th field behind it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        raise Stalled(f"process {pid} ended before all records were in Kafka") from None
    if fields[0] == "Z":
        raise Stalled(f"process {pid} ended before all records were in Kafka")
    return (int(fields[11]) + int(fields[12])) / _TICKS
