"""The alert rules, the runbook and the dashboard: they use metrics that exist, and promtool accepts them.

``make torture ONLY=alerts`` evaluates all of them on the metrics of a bridge in real trouble.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from bridge.observe.metrics.collector import Metrics
from tests.fakes.snapshots import FULL, of_two_workers
from tests.support.monitoring import ALERT_TESTS, ALERTS, alerts, dashboard, queries, series_in
from tests.support.promtool import promtool
from tests.support.repository import REPOSITORY

RUNBOOK = REPOSITORY / "docs/runbook.md"


def series() -> dict[str, set[str]]:
    """The names of all series, with their labels."""
    found: dict[str, set[str]] = {}
    texts = Metrics(lambda: FULL).render().body.decode(), generate_latest(of_two_workers()).decode()
    for family in (each for text in texts for each in text_string_to_metric_families(text)):
        for each in family.samples:
            found.setdefault(each.name, set()).update(each.labels)
    return found


def test_each_alert_fires_and_ends_in_its_test() -> None:
    """By promtool: labels and texts are compared."""
    done = promtool("test", "rules", ALERT_TESTS)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def test_each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    """A rule that nothing tests may never fire."""
    cases = [case for test in yaml.safe_load(ALERT_TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    for fires in (True, False):
        assert {each["alert"] for each in alerts()} == {
            case["alertname"] for case in cases if bool(case["exp_alerts"]) is fires
        }


def test_each_alert_says_how_bad_it_is_and_where_help_is() -> None:
    """The heading of the runbook exists, and each heading belongs to a rule."""
    names = [each["alert"] for each in alerts()]
    assert len(names) == len(set(names)) >= 14
    for each in alerts():
        assert each["labels"]["severity"] in {"critical", "warning"}
        assert each["annotations"]["summary"]
        assert each["annotations"]["runbook_url"] == f"docs/runbook.md#{each['alert'].lower()}"
    assert re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE) == names


def test_each_section_of_the_runbook_has_four_parts() -> None:
    """Symptom, likely cause, commands, and when it is over."""
    for section in re.split(r"^## ", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]:
        parts = re.findall(
            r"^(\*\*Symptom\.\*\*|\*\*Likely cause\.\*\*|```sh|\*\*It is over\*\*)", section, re.MULTILINE
        )
        assert parts == ["**Symptom.**", "**Likely cause.**", "```sh", "**It is over**"], section


def test_rules_and_panels_use_series_and_labels_that_exist() -> None:
    """Of the registry itself; a renamed metric fails here."""
    known = series()
    expressions = [each["expr"] for each in alerts()] + [each.expression for each in queries()]
    assert {name for each in expressions for name in series_in(each)} - known.keys() == set()
    for expression in expressions:
        for name, selector in re.findall(r"\b(mix_bridge_\w+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) - known[name] <= {"instance", "job"}, expression


def test_promtool_parses_the_rules_and_each_query_of_the_dashboard(tmp_path: Path) -> None:
    """Each query as a recording rule."""
    assert promtool("check", "rules", ALERTS).returncode == 0
    rules = [{"record": f"panel:{at}", "expr": each.expression} for at, each in enumerate(queries())]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = promtool("check", "rules", file)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def test_the_dashboard_has_its_rows_and_variables() -> None:
    """Every panel is in the grid, has the chosen data source, and none covers another."""
    found = dashboard()
    assert [each["name"] for each in found["templating"]["list"]] == ["datasource", "namespace", "instance"]
    rows = [each["title"] for each in found["panels"] if each["type"] == "row"]
    assert rows == ["Health", "Flow", "Latency", "Sessions", "Kafka", "Replicas", "Process"]
    panels = found["panels"]
    assert len({each["id"] for each in panels}) == len(panels)
    cells = [
        (column, line)
        for place in (each["gridPos"] for each in panels)
        for column in range(place["x"], place["x"] + place["w"])
        for line in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(0 <= column < 24 for column, _ in cells)
    targets = [target for each in panels if each["type"] != "row" for target in each["targets"]]
    assert all(target["datasource"]["uid"] == "${datasource}" for target in targets)
    assert all('instance=~"$instance"' in target["expr"] for target in targets)
