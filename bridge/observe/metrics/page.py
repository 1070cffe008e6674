"""Writes docs/metrics.md from the metrics: ``python -m bridge.observe.metrics.page > docs/metrics.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from prometheus_client import ProcessCollector

from bridge.observe.metrics import of_bridge, of_kafka, of_servers
from bridge.observe.metrics.family import PREFIX, Family
from bridge.observe.metrics.of_bridge import WORKERS

_INTRODUCTION = """\
# Metrics

Generated from the code by `make docs`; do not edit.

`GET /metrics` returns them as Prometheus text, or as OpenMetrics if the `Accept` header of the request names
`application/openmetrics-text`. Durations are seconds, sizes are bytes, and a time is a Unix time in seconds:
`time() - <metric>` is its age. No label contains a session id. Each server has at most 60 series.

Of a histogram, `_bucket`, `_sum` and `_count` are the series to query. Ready-made rules are in
[`config/prometheus/alerts.yaml`](../config/prometheus/alerts.yaml), a dashboard is
[`config/grafana/mix-bridge.json`](../config/grafana/mix-bridge.json), and the [runbook](runbook.md) says what to do
when an alert fires.
"""
_HEAD = ("| metric | type | labels | meaning | what to do |", "|---|---|---|---|---|")
_SECTIONS = (
    ("The process", of_bridge.FAMILIES),
    ("Kafka, topics and shards", of_kafka.FAMILIES),
    ("Servers and sessions", of_servers.FAMILIES),
)
_WORKERS = """\
With `--workers` the one endpoint answers for all: counters and histograms are sums, each gauge has a label `worker`,
and there are these too. The answer is always Prometheus text."""
_PROCESS_ADVICE = {"open_fds": "Near process_max_fds new sessions cannot connect: raise the limit of open files."}


def as_markdown() -> str:
    """Return the page."""
    lines = [_INTRODUCTION.rstrip()]
    for title, families in _SECTIONS:
        lines += ["", f"## {title}", "", *_HEAD, *map(_row, families)]
    lines += ["", "## Several workers", "", _WORKERS, "", *_HEAD, *map(_row, WORKERS)]
    return "\n".join([*lines, "", "## The operating system's view", "", *_HEAD, *_process_rows()]) + "\n"


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{family.series}` | {family.kind.value} | {labels} | {family.meaning} | {family.advice} |"


def _process_rows() -> Iterator[str]:
    """Of the metrics that the Prometheus client adds."""
    for family in ProcessCollector(namespace=PREFIX, registry=None).collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        advice = _PROCESS_ADVICE.get(family.name.removeprefix(f"{PREFIX}_process_"), "")
        yield f"| `{name}` | {family.type} |  | {family.documentation} | {advice} |"


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
