"""``mix-bridge tail`` without its command: selection, JSON Lines, lines for people, and what is not shown."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bridge.admin.kafka_access import KafkaAccess
from bridge.admin.tail.lines import BAD, LONGEST, PLAIN, Line, LineBuilder, TailFilter, describe, members_of, printable
from bridge.admin.tail.output import JsonOutput, LinePrinter, Selected, TextOutput, json_line, plain
from bridge.admin.tail.tail import Tail, TailRequest, topics_of
from bridge.cli.app import app
from bridge.consumer import Event
from bridge.demo.embedded_kafka import EmbeddedKafka
from bridge.errors import EXIT_USAGE
from bridge.kafka.follower import TopicFollower
from bridge.mix.events import VALIDATORS
from bridge.settings import load
from bridge.simulator.scripts.agent_script import AgentScript
from tests.consumer.records import lifecycle, record, send
from tests.fakes.consumed_events import consumed_event
from tests.support.waiting import wait_until

TOPICS = ("mix.events", "mix.dead-letters", "mix.lifecycle")


def access(brokers: str = "localhost:9092") -> KafkaAccess:
    """The settings of a command that names only the brokers."""
    return KafkaAccess.of(load({"kafka.bootstrap_servers": brokers}, {}))


@pytest.mark.parametrize(
    "options", ["--last 1 --since 1h", "no/", "/no", "", "--since soon", "--format xml", "--count 0"]
)
def test_wrong_use_is_refused(options: str) -> None:
    assert CliRunner().invoke(app, ["tail", *options.split(" ")]).exit_code == EXIT_USAGE


# Selection


def test_the_topics_of_a_role_include_the_routes() -> None:
    """Each once, although several routes may share a topic."""
    routes = '[{"match": "tool_*", "topic": "mix.tools"}, {"match": "x", "topic": "mix.tools"}]'
    chosen = load({"topics.routes": routes}, {})
    assert topics_of(chosen, "events") == ("mix.events", "mix.tools")
    assert topics_of(chosen, "dead-letters") == ("mix.dead-letters",)
    assert topics_of(chosen, "all") == ("mix.events", "mix.tools", "mix.dead-letters", "mix.lifecycle")


@pytest.mark.parametrize(
    ("selection", "is_chosen"),
    [
        (TailFilter(), True),
        (TailFilter(("local/amber",)), True),
        (TailFilter(("local/*",)), True),
        (TailFilter(("x/*", "amber")), True),
        (TailFilter(("am*",)), True),
        (TailFilter(("far/amber",)), False),
        (TailFilter(("birch",)), False),
        (TailFilter(type="tool_*"), True),
        (TailFilter(type="tool"), False),
        (TailFilter(text="caf\u00e9"), True),
        (TailFilter(text="\\u00e9"), True),
        (TailFilter(text="schema"), True),
        (TailFilter(text="missing field"), True),
        (TailFilter(text="tea"), False),
        (TailFilter(("amber",), "tool_*", "tea"), False),
    ],
)
def test_records_are_selected_by_session_type_and_text(selection: TailFilter, *, is_chosen: bool) -> None:
    """All conditions must be met; a pattern without a slash is about the session id."""
    event = consumed_event(b'{"a":"caf\\u00e9"}', type="tool_use_start", dead_letter="schema", error="missing field")
    assert selection.matches(event) == is_chosen


def test_a_lifecycle_record_is_selected_by_the_last_part_of_its_type() -> None:
    """Nobody wants to type the prefix."""
    event = consumed_event(type="mix.bridge.session.gap")
    assert TailFilter(type="gap").matches(event)
    assert TailFilter(type="mix.bridge.*").matches(event)
    assert not TailFilter(type="reset").matches(event)


@pytest.mark.parametrize("data", [b"\\", b'"\\', b"[" * 100_000 + b"\\", b"\xff\\"])
def test_any_data_can_be_searched(data: bytes) -> None:
    """Data that is no JSON is searched as it is."""
    assert TailFilter(text="\\").matches(consumed_event(data))


# JSON Lines


def test_a_json_line_has_the_data_as_it_is() -> None:
    """Digits and order of members stay; line ends between them become blanks."""
    line = json_line(consumed_event(b'{"b":1.50,\r\n"a":12345678901234567890123}\n'))
    assert line.endswith('"data": {"b":1.50,  "a":12345678901234567890123}}')
    parsed = json.loads(line)
    assert (parsed["session"], parsed["number"], parsed["time"]) == ("amber", 1, "2026-01-01T00:00:00.000Z")


@pytest.mark.parametrize("data", [b"plain", b"\xff", b"NaN", b"", b'{"a":1'])
def test_data_that_is_no_json_is_text(data: bytes) -> None:
    parsed = json.loads(json_line(consumed_event(data)))
    assert parsed["text"] == data.decode(errors="replace")
    assert "data" not in parsed


def test_json_lines_are_utf_8_in_any_locale() -> None:
    """A locale without the agents' characters must not end the command."""
    raw = io.BytesIO()
    output = JsonOutput(io.TextIOWrapper(raw, encoding="ascii"))
    output.write([Selected(None, consumed_event('{"a":"é"}'.encode()))], 0.0)  # type: ignore[arg-type]
    assert json.loads(raw.getvalue())["data"] == {"a": "é"}


def test_a_dead_letter_has_its_reason_and_error() -> None:
    parsed = json.loads(json_line(consumed_event(dead_letter="schema", error="type: missing")))
    assert (parsed["dead_letter"], parsed["error"]) == ("schema", "type: missing")
    assert "error" not in json.loads(json_line(consumed_event()))


@given(st.text(), st.text())
def test_a_json_line_is_one_visible_line_with_the_same_meaning(text: str, session: str) -> None:
    """Nothing in it acts on a terminal."""
    data = json.dumps(text, ensure_ascii=False).encode(errors="surrogatepass").decode(errors="replace")
    line = json_line(consumed_event(data.encode(), session=session.encode(errors="replace").decode()))
    assert len(line.splitlines()) == 1
    assert all(ord(character) >= 32 and not 0x7F <= ord(character) < 0xA0 for character in line)
    assert json.loads(line)["data"] == json.loads(data)


# Text


def test_a_plain_line_has_whole_names() -> None:
    """For files and pipes, where it is searched."""
    line = plain(Line("local/3fa8c1d2-0000-4000-8000-000000000000", "content", "Hi", "", 3))
    assert line == "local/3fa8c1d2-0000-4000-8000-000000000000 content Hi x3"


def test_hostile_names_are_visible_in_plain_lines() -> None:
    """A session id is the server's text."""
    line = plain(Line("local/\x1b[2J\u202e", "content", "", ""))
    assert line.startswith("local/\\x1b[2J\\u202e ")


def test_a_line_on_a_terminal_has_its_time() -> None:
    out = io.StringIO()
    event = consumed_event()
    LinePrinter(out, colours=False, plain_width=60).show(
        [Line("local/amber", "content", "x" * 99, "", 1, time=event.time)], times=True
    )
    assert out.getvalue().startswith("00:00:00 amber     content")
    assert len(out.getvalue()) <= 61


def test_pieces_are_joined_and_a_dead_letter_names_its_error() -> None:
    out = io.StringIO()
    text = TextOutput(out, colours=False, is_live=False)
    pieces = [consumed_event(json.dumps({"content": word}).encode()) for word in ("one ", "two")]
    dead = consumed_event(b"{}", session="b", dead_letter="schema", error="type: missing")
    assert text.write([Selected(None, each) for each in [*pieces, dead]], 0.0) == 0  # type: ignore[arg-type]
    text.finish()
    assert [line.partition("Z ")[2] for line in out.getvalue().splitlines()] == [
        "local/b content dead letter, schema: type: missing",
        "local/amber content one two x2",
    ]


# On an embedded Kafka


@pytest.fixture(scope="module")
def brokers() -> Iterator[str]:
    """An embedded Kafka with the topics of the default namespace."""
    with EmbeddedKafka() as kafka:
        for topic in TOPICS:
            kafka.create_topic(topic)
        send(kafka.bootstrap_servers, "mix.events", *(record(number) for number in (1, 2, 3, 3)), b"foreign")
        send(kafka.bootstrap_servers, "mix.dead-letters", record(4, "{}"))
        send(kafka.bootstrap_servers, "mix.lifecycle", lifecycle(4))
        for topic in ("fast", "burst", "foreign"):
            kafka.create_topic(topic)
        send(kafka.bootstrap_servers, "foreign", b"1", b"2")
        yield kafka.bootstrap_servers


def printed(brokers: str, topics: Sequence[str] = TOPICS[:1], **request: Any) -> tuple[list[dict[str, Any]], Tail]:
    """What a run prints as JSON Lines, and the run."""
    out = io.StringIO()
    selection = request.pop("selection", TailFilter())
    run = Tail(access(brokers), TailRequest(topics=topics, selection=selection, **request), JsonOutput(out), print)
    run.run()
    return [json.loads(line) for line in out.getvalue().splitlines()], run


def numbers(lines: Sequence[dict[str, Any]]) -> list[int]:
    return [line["number"] for line in lines]


def test_what_is_stored_is_printed_without_repeats_and_foreign_records(brokers: str) -> None:
    lines, run = printed(brokers, follow=False)
    assert (numbers(lines), run.shown, run.repeats, run.foreign) == ([1, 2, 3], 3, 1, 1)


def test_the_newest_records_that_match_are_printed(brokers: str) -> None:
    assert numbers(printed(brokers, follow=False, last=2)[0]) == [2, 3]
    assert len(printed(brokers, TOPICS, follow=False, last=20)[0]) == 5
    chosen = TailFilter(text='"2"')
    assert numbers(printed(brokers, follow=False, last=2, selection=chosen)[0]) == [2]
    assert printed(brokers, follow=False, last=0)[0] == []


def test_a_run_ends_after_its_count(brokers: str) -> None:
    """In the middle of a batch too."""
    assert numbers(printed(brokers, follow=False, count=2)[0]) == [1, 2]
    assert numbers(printed(brokers, last=3, count=3)[0]) == [1, 2, 3]


def test_a_run_ends_after_its_time(brokers: str) -> None:
    assert printed(brokers, seconds=0.05)[0] == []


def test_the_first_foreign_record_is_named_at_once(brokers: str, capsys: pytest.CaptureFixture[str]) -> None:
    """While it follows, the count may come much later: a wrong topic must not look like a quiet one."""
    printed(brokers, ["foreign"], last=100, seconds=0.05)
    said = capsys.readouterr().out
    assert said == "foreign partition 0 offset 0 is skipped: it has no key (others are counted at the end)\n"


def test_a_missing_topic_among_others_is_named(brokers: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without any of them, the command is refused: see the tests of the command."""
    lines, _ = printed(brokers, [*TOPICS, "mix.tools"], follow=False)
    assert len(lines) == 5
    assert capsys.readouterr().out == "there is no topic mix.tools, or it is not visible\n"


def test_a_text_output_that_is_too_slow_skips_and_says_so(brokers: str) -> None:
    """30,000 records at once: the memory stays small, and the newest records come."""
    notes: list[str] = []
    out = io.StringIO()
    sent = False

    def too_fast() -> list[str]:
        return [each for each in notes if each.endswith(" events were not shown: they come too fast")]

    def is_gone() -> bool:
        """Send once the follower has its place; end when the last record is there."""
        nonlocal sent
        if not sent:
            sent = True
            send(brokers, "fast", *[b"x"] * 30_000)
        elif too_fast() and "newest" not in out.getvalue() and not getattr(run, "marked", False):
            run.marked = True  # type: ignore[attr-defined]
            send(brokers, "fast", record(9, '{"type":"content","content":"newest"}'))
        return "newest" in out.getvalue()

    run = Tail(
        access(brokers),
        TailRequest(topics=["fast"], selection=TailFilter(), seconds=30.0),
        TextOutput(out, colours=False, is_live=True),
        notes.append,
        is_gone,
    )
    run.run()
    assert "newest" in out.getvalue()
    (note,) = too_fast()
    assert int(note.split()[0].replace(",", "")) + run.foreign == 30_000


def test_a_follower_returns_records_from_its_offsets_on(brokers: str) -> None:
    """Also of a partition that it left and skipped."""
    send(brokers, "burst", b"0", b"1")
    follower = TopicFollower({"bootstrap.servers": brokers}, {("burst", 0): 1})
    assert [each.value for each in wait_until(lambda: follower.poll(10, 0.1))] == [b"1"]
    send(brokers, "burst", b"2")
    assert [each.value for each in wait_until(lambda: follower.poll(10, 0.1))] == [b"2"]
    assert follower.lag() == 0
    follower.close()


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5)
MEMBERS = ("content", "name", "input", "toolName", "progress", "choices", "reasoningDuration", "attempt", "success")


def shown(event: str, **fields: object) -> str:
    data = json.dumps(fields).encode()
    return describe(event, data, members_of(data)).text


def said(event: str, session: str = "amber", **fields: object) -> Event:
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
        assert not list(builder.add(said("content", content=piece), 0.0))
    completed = list(builder.add(said("complete", content="."), 0.1))
    assert completed[0] == Line(
        "local/amber", "content", "The weekly export holds it.", PLAIN, 3, time=said("content").time
    )
    assert completed[1].event == "complete"


def test_sessions_do_not_mix():
    builder = LineBuilder()
    list(builder.add(said("content", content="one "), 0.0))
    list(builder.add(said("content", session="birch", content="other"), 0.0))
    list(builder.add(said("content", content="one"), 0.0))
    assert [(line.session, line.text) for line in builder.rest()] == [
        ("local/amber", "one one"),
        ("local/birch", "other"),
    ]


def test_an_unfinished_line_is_shown_after_a_while():
    builder = LineBuilder()
    list(builder.add(said("content", content="Hm"), 10.0))
    assert not list(builder.due(11.0))
    assert [line.text for line in builder.due(12.0)] == ["Hm"]
    assert not list(builder.rest())


def test_the_text_of_a_subagent_is_a_line_of_its_own():
    builder = LineBuilder()
    list(builder.add(said("content", content="main"), 0.0))
    nested = said("content", content="sub", parentToolCallId="toolu_1")
    assert [(line.text, line.is_nested) for line in builder.add(nested, 0.0)] == [("main", False)]
    assert [(line.text, line.is_nested) for line in builder.rest()] == [("sub", True)]


def test_a_dead_letter_is_shown_with_its_reason():
    dead = replace(said("content", content="x"), dead_letter="schema")
    (line,) = LineBuilder().add(dead, 0.0)
    assert (line.text, line.style) == ("dead letter, schema: x", BAD)
