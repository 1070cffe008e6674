"""One answer from the answers of all workers. Pure, but for the totals of the counters.

A worker that is started again counts from 0: the sum must not fall because of that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, Final, Generic, NamedTuple, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from bridge.observe.metrics.collector import Exposition, FamilyCollector, exposition
from bridge.observe.metrics.of_bridge import WORKERS, Seats

SUMS: Final = ("buffer_bytes", "buffer_limit", "checkpoints_written")
"""What a process says of itself and is added up."""
Body = Mapping[str, Any]
AWAY: Final = "it does not answer: it starts, or is started again"


class OfWorker(NamedTuple):
    """What one worker answered; None: nothing."""

    number: int
    body: Any


def merged_checks(answers: Sequence[OfWorker]) -> dict[str, object]:
    """``/readyz``: all checks of all workers; one that does not answer is a failed check."""
    checks = [check for each in answers for check in _checks(each)]
    return {"ok": all(check["ok"] for check in checks), "checks": checks}


def _checks(answer: OfWorker) -> list[dict[str, Any]]:
    name = f"worker-{answer.number}"
    if answer.body is None:
        return [{"name": name, "ok": False, "detail": AWAY}]
    return [{**check, "name": f"{name}:{check['name']}"} for check in answer.body["checks"]]


def merged_status(answers: Sequence[OfWorker], own: Mapping[str, Any]) -> dict[str, Any]:
    """``/api/status``: the sessions, shards and servers of all workers; ``own``: what the parent says of itself."""
    present = [each for each in answers if each.body is not None]
    bodies = [each.body for each in present]
    owners = {body["bridge"]["owner"] for body in bodies}
    others = {name: count for body in bodies for name, count in body["replicas"].items() if name not in owners}
    return {
        "bridge": _bridge(bodies, own),
        "workers": [{"worker": each.number, "answers": each.body is not None} for each in answers],
        "shard_count": max((body["shard_count"] for body in bodies), default=0),
        "shards": sorted(_rows(present, "shards"), key=lambda row: row["shard"]),
        "replicas": others,
        "topics": worst_topics(bodies),
        "servers": by_server(bodies, _server),
        "sessions": _rows(present, "sessions"),
    }


def worst_topics(bodies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each topic as the worker describes it that has the most to say against it: each looks at other times."""
    found: dict[str, Any] = {}
    for name, topic in (each for body in bodies for each in body["topics"].items()):
        found[name] = max(found.get(name, topic), topic, key=_badness)
    return found


def _badness(topic: Mapping[str, Any]) -> tuple[bool, int]:
    return bool(topic.get("trouble")), len(topic.get("warnings", ()))


def _bridge(bodies: Sequence[Mapping[str, Any]], own: Mapping[str, Any]) -> dict[str, Any]:
    parts = [body["bridge"] for body in bodies]
    ages = [each["kafka_last_answer_age"] for each in parts]
    names = dict.fromkeys(name for each in parts for name in each)
    return {
        **{name: next((each[name] for each in parts if each.get(name) is not None), None) for name in names},
        **own,
        "restored": bool(parts) and all(each["restored"] for each in parts),
        **{name: sum(each[name] for each in parts) for name in SUMS},
        "kafka_last_answer_age": max(ages) if ages and None not in ages else None,
        "loops": {},
    }


def _rows(answers: Sequence[OfWorker], key: str) -> list[dict[str, Any]]:
    return [{**row, "worker": each.number} for each in answers for row in each.body[key]]


def by_server(bodies: Sequence[Body], merged: Callable[[Sequence[Body]], dict[str, Any]]) -> dict[str, Any]:
    """The servers of all workers: ``merged`` makes one of what each worker says of a server."""
    names = dict.fromkeys(name for body in bodies for name in body["servers"])
    return {name: merged([body["servers"][name] for body in bodies if name in body["servers"]]) for name in names}


def _server(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    ages = [each["last_discovery_age"] for each in parts if each["last_discovery_age"] is not None]
    return {
        "reachable": any(each["reachable"] for each in parts),
        "last_discovery_age": min(ages, default=None),
        "listed": max(each["listed"] for each in parts),
        "not_bridged": sum(each["not_bridged"] for each in parts),
    }


class _Merged(Collector):
    """Counters and histograms summed, gauges with a label ``worker``."""

    def __init__(self, texts: Sequence[OfWorker], totals: Totals[Series]) -> None:
        self._texts = texts
        self._totals = totals

    def collect(self) -> Iterator[Metric]:
        """All families, in the order of the first worker's."""
        families: dict[str, Metric] = {}
        for number, text in self._texts:
            if text is None:
                continue
            answer = list(text_string_to_metric_families(text))
            self._totals.note(number, counted(answer))
            for found in answer:
                family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
                if found.type not in SUMMED:
                    labels = [(each, {**each.labels, "worker": str(number)}) for each in found.samples]
                    family.samples += [Sample(each.name, named, each.value) for each, named in labels]
        for series, total in self._totals.sums().items():
            if series.family in families:
                families[series.family].samples.append(Sample(series.name, dict(series.labels), total))
        return iter(families.values())


def merged_metrics(texts: Sequence[OfWorker], seats: Seats, totals: Totals[Series], accept: str = "") -> Exposition:
    """``/metrics``. ``seats``: of the parent's own; ``totals``: of all scrapes so far; see ``exposition``."""
    registry = CollectorRegistry()
    registry.register(FamilyCollector(WORKERS, lambda: seats))
    registry.register(_Merged(texts, totals))
    return exposition(registry, accept)


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
        with self._lock:
            last = self._newest.get(number, found)
            if found.started < last.started:  # the late answer of a process that has ended
                return
            if found.started > last.started:
                self._ended = _sum((self._ended, last.values))
            self._newest[number] = found

    def sums(self) -> dict[K, float]:
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
