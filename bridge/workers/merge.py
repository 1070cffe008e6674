"""One answer from the answers of all workers. Pure, but for the totals of the counters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from bridge.observe.metrics.collector import Exposition, exposition
from bridge.workers.totals import SUMMED, Series, Totals, counted

SUMS: Final = ("buffer_bytes", "buffer_limit", "checkpoints_written")
"""What a process says of itself and is added up."""
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
        "servers": _servers(bodies),
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


def _servers(bodies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = dict.fromkeys(name for body in bodies for name in body["servers"])
    return {name: _server([body["servers"][name] for body in bodies if name in body["servers"]]) for name in names}


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


def merged_metrics(texts: Sequence[OfWorker], own: Collector, totals: Totals[Series], accept: str = "") -> Exposition:
    """``/metrics``. ``own``: the parent's own metrics; ``totals``: those of all scrapes so far; see ``exposition``."""
    registry = CollectorRegistry()
    registry.register(own)
    registry.register(_Merged(texts, totals))
    return exposition(registry, accept)
