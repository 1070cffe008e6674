"""What the demo shows of events: readable for the usual ones, harmless for any."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.demo.consumed_record import ConsumedRecord
from bridge.demo.event_text import LONGEST, Tone, digest, fields_of, printable
from bridge.demo.lines import Line, LineBuilder
from bridge.demo.screen import Screen, Status, short
from bridge.demo.summary import Tally, Verdict
from bridge.mix.events import VALIDATORS
from bridge.simulator.scripts.agent_script import AgentScript

JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5)
MEMBERS = ("content", "name", "input", "toolName", "progress", "choices", "reasoningDuration", "attempt", "success")


def shown(event: str, **fields: object) -> str:
    data = json.dumps(fields).encode()
    return digest(event, data, fields_of(data)).text


def arrival(event: str, session: str = "amber", **fields: object) -> ConsumedRecord:
    return ConsumedRecord(session, event, "1", 1, 1, json.dumps(fields).encode())


@given(st.text())
def test_nothing_in_a_text_reaches_the_terminal_as_a_command(text):
    """Control characters, bidi marks and line ends are written out; the text is cut."""
    assert printable(text).isprintable()


def test_a_giant_text_is_cut():
    assert len(printable("x" * 1_000_000)) == LONGEST


def test_escapes_are_seen_not_obeyed():
    assert shown("content", content="a\x1b[2Jb\x07\u202ec\x85") == "a\\x1b[2Jb\\x07\\u202ec\\x85"


@given(st.sampled_from([*VALIDATORS, "new_kind"]), st.dictionaries(st.sampled_from(MEMBERS), JSON))
def test_any_data_has_a_digest(event, fields):
    """A member of another type than the contract's is shown as it is."""
    data = json.dumps(fields).encode()
    assert digest(event, data, fields_of(data)).text.isprintable()


@pytest.mark.parametrize("data", [b"", b"no json", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_data_that_is_no_object_is_shown_as_it_is(data):
    assert digest("content", data, fields_of(data)).tone is Tone.PLAIN


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
def test_usual_events_read_well(event, fields, expected):
    assert shown(event, **fields) == expected


def test_every_event_of_the_agents_is_counted_on_some_line():
    """Pieces are joined, none is swallowed, and what was said stands there whole."""
    passages, events = LineBuilder(), 0
    lines: list[Line] = []
    script = AgentScript(1, "amber", lambda: 0).events()
    for number in range(500):
        event = next(script)
        events += 1
        lines += passages.take(ConsumedRecord("amber", event.name, "", 1, number, event.data), 0.0)
    lines += passages.rest()
    assert sum(line.events for line in lines) == events
    assert len(lines) < events / 2


def test_pieces_of_one_text_become_one_line():
    passages = LineBuilder()
    for piece in ("The weekly ", "export ", "holds it."):
        assert not list(passages.take(arrival("content", content=piece), 0.0))
    completed = list(passages.take(arrival("complete", content="."), 0.1))
    assert completed[0] == Line("amber", "content", "The weekly export holds it.", Tone.SPEECH, 3)
    assert completed[1].event == "complete"


def test_sessions_do_not_mix():
    passages = LineBuilder()
    list(passages.take(arrival("content", content="one "), 0.0))
    list(passages.take(arrival("content", session="birch", content="other"), 0.0))
    list(passages.take(arrival("content", content="one"), 0.0))
    assert [(line.session, line.text) for line in passages.rest()] == [("amber", "one one"), ("birch", "other")]


def test_a_line_does_not_wait_for_ever():
    passages = LineBuilder()
    list(passages.take(arrival("content", content="Hm"), 10.0))
    assert not list(passages.due(11.0))
    assert [line.text for line in passages.due(12.0)] == ["Hm"]
    assert not list(passages.rest())


def test_what_a_subagent_says_is_a_line_of_its_own():
    passages = LineBuilder()
    list(passages.take(arrival("content", content="main"), 0.0))
    nested = arrival("content", content="sub", parentToolCallId="toolu_1")
    assert [(line.text, line.is_nested) for line in passages.take(nested, 0.0)] == [("main", False)]
    assert [(line.text, line.is_nested) for line in passages.rest()] == [("sub", True)]


def test_a_dead_letter_says_so():
    dead = arrival("content", content="x")._replace(dead_letter="schema")
    (line,) = LineBuilder().take(dead, 0.0)
    assert (line.text, line.tone) == ("dead letter, schema: x", Tone.BAD)


def test_long_session_ids_are_cut_and_hostile_ones_escaped():
    assert short("3fa8c1d2-0000-4000-8000-000000000000") == "3fa8c1d2…"
    assert short("\x1b[2J") == "\\x1b[2J"


# --- the screen without a terminal


def printed(act) -> list[str]:
    out = io.StringIO()
    with Screen(out, colours=True) as screen:
        act(screen)
    return out.getvalue().splitlines()


def test_without_a_terminal_lines_are_plain():
    """No colours, no cursor movements, one line for one line, nothing taken for markup."""
    line = Line("amber", "content", "[bold]:smile:[/] " + "x" * 300, Tone.SPEECH, 3)
    status = Status(65.0, [1, 10, 20, 30], 61, 2, 4, "Ctrl-C ends it")
    told = printed(lambda screen: (screen.show([line]), screen.count(status)))
    assert len(told) == 2
    assert "\x1b" not in "".join(told)
    assert told[0].startswith("amber     content")
    assert "[bold]:smile:[/] xxx" in told[0]
    assert told[0].endswith("… x3")
    assert len(told[0]) < 160
    assert told[1] == "— 01:05 │ 20 events/s │ 61 events │ lag 2 │ 4 sessions │ Ctrl-C ends it"


def test_the_summary_says_what_is_wrong_and_where():
    verdict = Verdict({"amber": Tally(10, 10), "birch": Tally(10, 8, 1, 1, 1)})
    told = "\n".join(printed(lambda screen: screen.summary(verdict, {"birch": "created on the way"})))
    assert "birch     8 of 10 events, 2 lost, 1 repeated, 1 altered, 1 out of order  created on the way" in told
    for name, number in {"sent": 20, "arrived": 18, "lost": 2, "repeated": 1, "altered": 1, "disorder": 1}.items():
        assert f"  {name:<9} {number:>2}" in told
    assert "nothing lost" not in told


def test_the_summary_of_many_sessions_is_short():
    verdict = Verdict({f"s{number}": Tally(1, 1) for number in range(100)})
    told = printed(lambda screen: screen.summary(verdict, {}))
    assert "  and 88 more sessions" in told
    assert "  sent      100  by the server's own journal" in told
