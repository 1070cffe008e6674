"""Evaluates alert rules and queries on the metrics of real processes: promtool runs them on what was scraped."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from urllib.error import URLError

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.monitoring import ALERTS, queries
from tests.support.process import Bridge
from tests.support.promtool import promtool

_MINUTES = 30
"""The trouble lasts so long for promtool; every rule needs less."""
Labels = frozenset[tuple[str, str]]
Values = Mapping[tuple[str, Labels], float]


@dataclass(frozen=True)
class Scrape:
    """What one process answered at one moment: values by series, and which series are counters or times."""

    values: Values
    rising: frozenset[str] = frozenset()
    """Names of counters and of the series of histograms."""
    at: float = 0.0
    """Unix time."""

    @classmethod
    def of(cls, bridge: Bridge) -> Scrape:
        """Scrape a process as Prometheus does; ``up`` is 0 if it does not answer."""
        labels = {("job", "mix-bridge"), ("instance", bridge.url.rpartition("/")[2])}
        try:
            text = bridge.get("/metrics").text
        except (URLError, OSError):
            return cls({("up", frozenset(labels)): 0.0})
        values, rising = {("up", frozenset(labels)): 1.0}, set()
        for family in text_string_to_metric_families(text):
            for each in family.samples:
                values[each.name, frozenset(labels | set(each.labels.items()))] = each.value
                if family.type in {"counter", "histogram"}:
                    rising.add(each.name)
        return cls(values, frozenset(rising), time.time())

    def value(self, name: str, **labels: str) -> float:
        """The first value of a series with these labels; NaN, which no comparison accepts, if there is none."""
        wanted = set(labels.items())
        return next((value for (found, given), value in self.values.items() if found == name and wanted <= given), nan)


def in_trouble(before: Scrape, now: Sequence[Scrape]) -> list[dict[str, str]]:
    """The series of processes that stay in the state of ``now``, in the form of promtool.

    Counters rise for the whole time from their value in ``before`` (0 if they were not there), because a rule looks at
    their rate. A time keeps its age: promtool's clock begins at 0.
    """
    found = []
    for scrape in now:
        for (name, labels), value in scrape.values.items():
            text = ",".join(f'{key}="{each}"' for key, each in sorted(labels))
            found.append({"series": f"{name}{{{text}}}", "values": _course(scrape, before, name, labels, value)})
    return found


def _course(scrape: Scrape, before: Scrape, name: str, labels: Labels, value: float) -> str:
    if name in scrape.rising:
        former = before.values.get((name, labels), 0.0)
        return f"{former!r}+{(value - former) / _MINUTES!r}x{_MINUTES}"
    if name.endswith("_timestamp_seconds"):
        return f"{value - scrape.at!r}+60x{_MINUTES}"
    return f"{value!r}x{_MINUTES}"


def assert_fires(folder: Path, series: list[dict[str, str]], *, fires: Iterable[str], silent: Iterable[str]) -> None:
    """These alerts fire after half an hour of this, and those do not."""
    expected = dict.fromkeys(silent, 0) | dict.fromkeys(fires, 1)
    firing = 'count(ALERTS{alertname="%s",alertstate="firing"}) > bool 0 or vector(0)'
    _evaluate(folder, series, {firing % name: value for name, value in expected.items()})


def assert_panels_show_something(folder: Path, series: list[dict[str, str]]) -> None:
    """No query of the dashboard is empty."""
    _evaluate(folder, series, {f"count({each.expression}) > bool 0 or vector(0)": 1 for each in queries()})


def _evaluate(folder: Path, series: list[dict[str, str]], expected: Mapping[str, int]) -> None:
    minute = f"{_MINUTES - 2}m"
    cases = [
        {"expr": expression, "eval_time": minute, "exp_samples": [{"labels": "{}", "value": value}]}
        for expression, value in expected.items()
    ]
    test = {"interval": "1m", "input_series": series, "promql_expr_test": cases}
    file = folder / "scraped_test.yaml"
    document = {"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [test]}
    file.write_text(yaml.safe_dump(document, width=1000))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, f"{file}:\n{(done.stdout + done.stderr).decode()[-4000:]}"
