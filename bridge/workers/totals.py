"""The workers' counters in sum. A worker that is started again counts from 0: the sum must not fall because of that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Final, NamedTuple

from prometheus_client.metrics_core import Metric

SUMMED: Final = frozenset({"counter", "histogram"})
_STARTED: Final = "mix_bridge_process_start_time_seconds"


class Series(NamedTuple):
    """One series of a counter or histogram."""

    family: str
    name: str
    labels: tuple[tuple[str, str], ...]


class _Process(NamedTuple):
    started: float
    values: Mapping[Series, float]


class Totals:
    """Sums that never fall. Prometheus takes a fall for a reset and counts the whole rest as an increase.

    So the last known values of a worker stay in the sum while it does not answer and after it ended. What it counted
    after its last answer is missing. Thread rule: any thread.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._newest: dict[int, _Process] = {}
        self._ended: dict[Series, float] = {}

    def note(self, number: int, families: Iterable[Metric]) -> None:
        """A worker answered with this."""
        found = _process(families)
        with self._lock:
            last = self._newest.get(number, found)
            if found.started < last.started:  # the late answer of a process that has ended
                return
            if found.started > last.started:
                self._ended = _sum((self._ended, last.values))
            self._newest[number] = found

    def sums(self) -> dict[Series, float]:
        """Of all processes so far."""
        with self._lock:
            return _sum((self._ended, *(each.values for each in self._newest.values())))


def _sum(parts: Iterable[Mapping[Series, float]]) -> dict[Series, float]:
    total: defaultdict[Series, float] = defaultdict(float)
    for part in parts:
        for series, value in part.items():
            total[series] += value
    return dict(total)


def _process(families: Iterable[Metric]) -> _Process:
    started, values = 0.0, dict[Series, float]()
    for family in families:
        for each in family.samples:
            if each.name == _STARTED:
                started = each.value
            elif family.type in SUMMED:
                values[Series(family.name, each.name, tuple(each.labels.items()))] = each.value
    return _Process(started, values)
