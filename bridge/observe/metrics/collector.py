"""The metrics: a Prometheus collector over the snapshot.

Counts and durations are noted where they happen, once per batch at most; each scrape takes one snapshot of them, so no
event costs more because of metrics. No label contains a session id: their number has no limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from bridge.core.snapshot import BridgeSnapshot
from bridge.observe.metrics import of_bridge, of_kafka, of_servers
from bridge.observe.metrics.family import PREFIX, Family, Scrape

FAMILIES = (*of_bridge.FAMILIES, *of_kafka.FAMILIES, *of_servers.FAMILIES)

_OPENMETRICS = "application/openmetrics-text"


class Exposition(NamedTuple):
    """The body of an answer, and its content type."""

    body: bytes
    content_type: str


class Metrics:
    """The text of ``/metrics``. Thread rule: one thread at a time (the HTTP thread)."""

    def __init__(self, snapshot: Callable[[], BridgeSnapshot]) -> None:
        self._registry = CollectorRegistry()  # not the global one, which other code of the process may use
        self._registry.register(FamilyCollector(FAMILIES, lambda: Scrape(snapshot())))
        ProcessCollector(namespace=PREFIX, registry=self._registry)  # mix_bridge_process_*: memory, CPU, descriptors

    def render(self, accept: str = "") -> Exposition:
        """All metrics; see ``exposition``."""
        return exposition(self._registry, accept)


def exposition(registry: CollectorRegistry, accept: str) -> Exposition:
    """All metrics: as OpenMetrics if ``accept``, the request's header, names it, else as Prometheus text 0.0.4.

    Every scraper reads the old format, and no name here needs a newer one.
    """
    if _OPENMETRICS in accept:
        body: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        return Exposition(body, openmetrics.CONTENT_TYPE_LATEST)
    return Exposition(generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)


class FamilyCollector(Collector):
    """The metrics of some families at each scrape."""

    def __init__(self, families: Sequence[Family], take: Callable[[], Any]) -> None:
        """``take`` returns what the values of the families need."""
        self._families = families
        self._take = take

    def describe(self) -> Iterable[Metric]:
        """Return nothing: otherwise registering would take a snapshot before the daemon has one."""
        return ()

    def collect(self) -> Iterator[Metric]:
        taken = self._take()
        return (family.metric(taken) for family in self._families)
