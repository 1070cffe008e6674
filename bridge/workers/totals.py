"""The workers' counters in sum. A worker that is started again counts from 0: the sum must not fall because of that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from threading import Lock
from typing import Final, Generic, NamedTuple, TypeVar

from prometheus_client.metrics_core import Metric

SUMMED: Final = frozenset({"counter", "histogram"})
_STARTED: Final = "mix_bridge_process_start_time_seconds"


class Series(NamedTuple):
    """One series of a counter or histogram."""

    family: str
    name: str
    labels: tuple[tuple[str, str], ...]


K = TypeVar("K", bound=Hashable)


class Counted(NamedTuple, Generic[K]):
    """What one process of a worker has counted."""

    started: float
    """When it started: tells the processes of one worker apart."""
    values: Mapping[K, float]


class Totals(Generic[K]):
    """Sums that never fall. Prometheus takes a fall for a reset and counts the whole rest as an increase.

    So the last known values of a worker stay in the sum while it does not answer and after it ended. What it counted
    after its last answer is missing. Thread rule: any thread.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._newest: dict[int, Counted[K]] = {}
        self._ended: dict[K, float] = {}

    def note(self, number: int, found: Counted[K]) -> None:
        """A worker answered with this."""
        with self._lock:
            last = self._newest.get(number, found)
            if found.started < last.started:  # the late answer of a process that has ended
                return
            if found.started > last.started:
                self._ended = _sum((self._ended, last.values))
            self._newest[number] = found

    def sums(self) -> dict[K, float]:
        """Of all processes so far."""
        with self._lock:
            return _sum((self._ended, *(each.values for each in self._newest.values())))


def _sum(parts: Iterable[Mapping[K, float]]) -> dict[K, float]:
    total: dict[K, float] = defaultdict(int)
    for part in parts:
        for key, value in part.items():
            total[key] += value
    return dict(total)


def counted(families: Iterable[Metric]) -> Counted[Series]:
    """What the metrics of a process count."""
    started, values = 0.0, dict[Series, float]()
    for family in families:
        for each in family.samples:
            if each.name == _STARTED:
                started = each.value
            elif family.type in SUMMED:
                values[Series(family.name, each.name, tuple(each.labels.items()))] = each.value
    return Counted(started, values)
