"""The recipes that can run here do: the rule in SQL, and the spans of OpenTelemetry. kcat: tests/integration."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import timedelta
from itertools import islice

import pytest

from bridge.consumer import Event, Rule
from bridge.simulator.scripts.agent_script import AgentScript
from tests.docs.examples import blocks_of
from tests.docs.examples.opentelemetry_1 import spans
from tests.docs.pages import blocks
from tests.fakes.consumed_events import consumed_event


def sql() -> list[str]:
    """The statements of the page about DuckDB."""
    return [block.text for block in blocks("sql") if block.page.name == "duckdb.md"]


@pytest.fixture
def database() -> sqlite3.Connection:
    """The table of the page, with records that repeat, with a new epoch, and with replayed ones."""
    connection = sqlite3.connect(":memory:")
    (create,) = [line for line in blocks_of("docs/recipes/duckdb.md")[0].split("database.execute(") if "CREATE" in line]
    connection.execute("".join(part.strip().strip('"') for part in create.split(")\nconsumer")[0].splitlines()))
    return connection


def event(number: int, epoch: int = 1, session: str = "a", *, replayed: bool = False) -> Event:
    """One record."""
    return consumed_event(b"{}", number, epoch, session=session, replayed=replayed)


RECORDS = [
    event(1),
    event(2),
    event(1, session="b"),
    event(2),
    event(9, replayed=True),
    event(3),
    event(9, replayed=True),
    event(1, epoch=2),
    event(4),
    event(2, epoch=2),
]


def test_the_rule_in_sql_is_the_rule(database: sqlite3.Connection) -> None:
    """The view has the same events as the library."""
    rule = Rule()
    expected = [(each.key, each.sequence) for each in RECORDS if rule.accepts(each)]
    for position, each in enumerate(RECORDS):
        row = (each.topic, 0, position, each.key, each.type, each.sequence, each.replayed, each.time.isoformat(), "{}")
        database.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    view, count = sql()
    database.execute(view)
    assert sorted(database.execute("SELECT session, sequence FROM events").fetchall()) == sorted(expected)
    assert database.execute(count).fetchall() == [("content", len(expected))]
    assert len(expected) < len(RECORDS)


def test_the_events_of_an_agent_become_spans_of_a_run_and_its_tools() -> None:
    """Each is closed, named by the conventions, and within its run."""
    start = consumed_event().time
    script = islice(AgentScript(1, "amber", lambda: 0).events(), 600)
    events = [
        replace(consumed_event(sent.data, number, type=sent.name), time=start + timedelta(seconds=number))
        for number, sent in enumerate(script, 1)
    ]
    found = list(spans(events))
    runs = [span for span in found if span.name == "invoke_agent"]
    tools = [child for run in runs for child in run.children]
    assert len(runs) > 3
    assert tools
    for run in runs:
        assert run.attributes["gen_ai.conversation.id"] == "amber"
        assert run.end is not None
        assert run.start < run.end
        assert all(tool.end is not None and run.start <= tool.start <= tool.end <= run.end for tool in run.children)
    assert all(tool.name == f"execute_tool {tool.attributes['gen_ai.tool.name']}" for tool in tools)
