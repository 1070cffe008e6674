"""The alert rules and the dashboard, and what their queries use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from tests.support.repository import REPOSITORY

ALERTS = REPOSITORY / "config/prometheus/alerts.yaml"
ALERT_TESTS = REPOSITORY / "config/prometheus/alerts_test.yaml"
DASHBOARD = REPOSITORY / "config/grafana/mix-bridge.json"


class Query(NamedTuple):
    """One query of a panel, with values for Grafana's variables."""

    panel: str
    expression: str


def alerts() -> list[dict[str, Any]]:
    """All alert rules."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def queries() -> Iterator[Query]:
    """All queries of the dashboard."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            filled = target["expr"].replace("$instance", ".*").replace("$namespace", ".*")
            yield Query(panel["title"], re.sub(r"\$__(rate_interval|range)\b", "5m", filled))


def series_in(expression: str) -> set[str]:
    """The names of our series in a query."""
    return set(re.findall(r"\bmix_bridge_\w+", expression))
