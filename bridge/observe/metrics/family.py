"""What one metric is: its name, its type, its meaning, and its values in a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from bridge.core.durations import Distribution
from bridge.core.snapshot import BridgeSnapshot, Counters
from bridge.observe.health import Verdict, readiness

PREFIX = "mix_bridge"

Samples = Mapping[tuple[str, ...], Any]
"""Values by the values of the labels: numbers, or distributions for a histogram."""


class Kind(Enum):
    """The type of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Scrape:
    """One snapshot, and what several metrics compute from it. Thread rule: one thread."""

    def __init__(self, snapshot: BridgeSnapshot) -> None:
        self.snapshot = snapshot

    @cached_property
    def totals(self) -> dict[str, Counters]:
        return self.snapshot.totals()

    @cached_property
    def readiness(self) -> Verdict:
        """As ``/readyz`` says it."""
        return readiness(self.snapshot)

    def ago(self, seconds: float | None) -> float:
        """The Unix time of something that happened so many seconds ago; 0 if it never did."""
        return 0.0 if seconds is None else self.snapshot.taken_at_ms / 1000 - seconds


class Family(NamedTuple):
    """One metric. ``advice`` says what an operator does when its value is bad; empty: nothing, it is for graphs."""

    name: str
    """Without the prefix, and for a counter without ``_total``."""
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    values: Callable[[Any], Samples]
    """The samples from a `Scrape`, or from what another source of metrics has."""
    advice: str = ""

    @property
    def series(self) -> str:
        """The name as it is queried; of a histogram without ``_bucket``, ``_sum`` and ``_count``."""
        return f"{PREFIX}_{self.name}{'_total' if self.kind is Kind.COUNTER else ''}"

    def metric(self, scrape: Any) -> Metric:  # noqa: ANN401 - what the values need
        """The samples at this moment, in the form of the Prometheus client."""
        name, text = f"{PREFIX}_{self.name}", f"{self.meaning} {self.advice}".strip()
        values = self.values(scrape)
        if self.kind is Kind.HISTOGRAM:
            histogram = HistogramMetricFamily(name, text, labels=self.labels)
            for labels, value in values.items():
                histogram.add_metric(labels, _buckets(value), value.seconds)
            return histogram
        family = (CounterMetricFamily if self.kind is Kind.COUNTER else GaugeMetricFamily)(
            name, text, labels=self.labels
        )
        for labels, value in values.items():
            family.add_metric(labels, value)
        return family


def one(value: float | Distribution) -> Samples:
    """The single sample of a metric without labels."""
    return {(): value}


def by_name(values: Mapping[str, Any]) -> Samples:
    """The samples of a metric with one label."""
    return {(name,): value for name, value in values.items()}


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    bounds = [*map(floatToGoString, distribution.bounds), "+Inf"]
    return list(zip(bounds, accumulate(distribution.counts), strict=True))
