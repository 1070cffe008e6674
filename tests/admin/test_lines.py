"""The demo's lines are readable for the usual events and safe to print for any data."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.admin.tail.lines import BAD, LONGEST, PLAIN, Line, LineBuilder, describe, members_of, printable
from bridge.consumer import Event
from bridge.mix.events import VALIDATORS
from bridge.simulator.scripts.agent_script import AgentScript
from tests.fakes.consumed_events import consumed_event

JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5)
MEMBERS = ("content", "name", "input", "toolName", "progress", "choices", "reasoningDuration", "attempt", "success")


def shown(event: str, **fields: object) -> str:
    data = json.dumps(fields).encode()
    return describe(event, data, members_of(data)).text


def record(event: str, session: str = "amber", **fields: object) -> Event:
    return consumed_event(json.dumps(fields).encode(), type=event, session=session)


@given(st.text())
def test_a_printable_text_has_no_control_characters(text):
    assert printable(text).isprintable()


def test_a_giant_text_is_cut():
    assert len(printable("x" * 1_000_000)) == LONGEST


def test_control_characters_are_escaped():
    assert shown("content", content="a\x1b[2Jb\x07\u202ec\x85") == "a\\x1b[2Jb\\x07\\u202ec\\x85"


@given(st.sampled_from([*VALIDATORS, "new_kind"]), st.dictionaries(st.sampled_from(MEMBERS), JSON))
def test_any_data_can_be_described(event, fields):
    """Members may have another type than the contract requires."""
    data = json.dumps(fields).encode()
    assert describe(event, data, members_of(data)).text.isprintable()


@pytest.mark.parametrize("data", [b"", b"no json", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_data_that_is_not_an_object_is_shown_as_it_is(data):
    assert describe("content", data, members_of(data)).style == PLAIN


@pytest.mark.parametrize(
    ("event", "fields", "expected"),
    [
        ("user_message_created", {"content": "Why?"}, "» Why?"),
        ("complete", {"content": "Done.", "reasoningDuration": 1500}, "✓ done after 1.5 s of thinking: Done."),
        ("tool_execution_complete", {"toolName": "Bash", "progress": "12", "success": False}, "✗ Bash: 12"),
        ("error", {"error": "busy", "attempt": 1, "maxAttempts": 3}, "✗ busy, attempt 1 of 3"),
        (
            "notification",
            {"notificationType": "question", "title": "T", "message": "M", "choices": ["a", "b"]},
            "question: T: M (a / b)",
        ),
        (
            "permission",
            {"action": "execute", "toolName": "Bash", "description": "Counting", "params": {"command": "wc"}},
            'may I execute Bash? Counting {"command": "wc"}',
        ),
    ],
)
def test_usual_events_are_readable(event, fields, expected):
    assert shown(event, **fields) == expected


def test_every_event_of_the_agents_is_counted_on_some_line():
    builder, events = LineBuilder(), 0
    lines: list[Line] = []
    script = AgentScript(1, "amber", lambda: 0).events()
    for number in range(500):
        event = next(script)
        events += 1
        lines += builder.add(consumed_event(event.data, number, type=event.name, sse_id=None), 0.0)
    lines += builder.rest()
    assert sum(line.events for line in lines) == events
    assert len(lines) < events / 2


def test_pieces_of_one_text_become_one_line():
    builder = LineBuilder()
    for piece in ("The weekly ", "export ", "holds it."):
        assert not list(builder.add(record("content", content=piece), 0.0))
    completed = list(builder.add(record("complete", content="."), 0.1))
    assert completed[0] == Line(
        "local/amber", "content", "The weekly export holds it.", PLAIN, 3, time=record("content").time
    )
    assert completed[1].event == "complete"


def test_sessions_do_not_mix():
    builder = LineBuilder()
    list(builder.add(record("content", content="one "), 0.0))
    list(builder.add(record("content", session="birch", content="other"), 0.0))
    list(builder.add(record("content", content="one"), 0.0))
    assert [(line.session, line.text) for line in builder.rest()] == [
        ("local/amber", "one one"),
        ("local/birch", "other"),
    ]


def test_an_unfinished_line_is_shown_after_a_while():
    builder = LineBuilder()
    list(builder.add(record("content", content="Hm"), 10.0))
    assert not list(builder.due(11.0))
    assert [line.text for line in builder.due(12.0)] == ["Hm"]
    assert not list(builder.rest())


def test_the_text_of_a_subagent_is_a_line_of_its_own():
    builder = LineBuilder()
    list(builder.add(record("content", content="main"), 0.0))
    nested = record("content", content="sub", parentToolCallId="toolu_1")
    assert [(line.text, line.is_nested) for line in builder.add(nested, 0.0)] == [("main", False)]
    assert [(line.text, line.is_nested) for line in builder.rest()] == [("sub", True)]


def test_a_dead_letter_is_shown_with_its_reason():
    dead = replace(record("content", content="x"), dead_letter="schema")
    (line,) = LineBuilder().add(dead, 0.0)
    assert (line.text, line.style) == ("dead letter, schema: x", BAD)
