"""The metrics of a process that supervises workers, beside the sums of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from bridge.observe.metrics.family import PREFIX

_UP: Final = "1 while the process of the worker runs."
_RESTARTS: Final = "Times a worker that ended was started again."
ADVICE: Final = {
    "worker_up": "If it stays 0, the log says why the worker ended: its sessions wait for it.",
    "worker_restarts": "If it rises, the log says why the worker ends.",
}
"""What to do, by the name of the metric."""


class OwnMetrics(Collector):
    """The parent's own metrics. Thread rule: any thread."""

    def __init__(self, workers: Callable[[], Mapping[int, tuple[bool, int]]]) -> None:
        """``workers`` returns, by number, whether the worker runs, and how often it was started again."""
        self.workers = workers

    def collect(self) -> Iterator[Metric]:
        """Two families."""
        up = GaugeMetricFamily(f"{PREFIX}_worker_up", _text("worker_up", _UP), labels=["worker"])
        restarts = CounterMetricFamily(
            f"{PREFIX}_worker_restarts", _text("worker_restarts", _RESTARTS), labels=["worker"]
        )
        for number, (is_up, count) in self.workers().items():
            up.add_metric([str(number)], int(is_up))
            restarts.add_metric([str(number)], count)
        yield from (up, restarts)


def _text(name: str, meaning: str) -> str:
    return f"{meaning} {ADVICE[name]}"
