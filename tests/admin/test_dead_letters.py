"""Selecting and grouping dead letters, and replaying them under today's rules, or why some cannot be."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.admin.dead_letters.replay import Unsendable, as_record, marked
from bridge.admin.dead_letters.topic import DeadLetterFilter, Group, Kind, grouped, parse_reference
from bridge.core.identity import SessionKey
from bridge.core.records.dead_letter import Place
from bridge.core.records.encoder import Encoder
from bridge.core.records.numbers import EventSequence, NumberedRecord, number_of
from bridge.core.records.record import Record
from bridge.core.records.rules import Format, Rules
from bridge.core.stream.event import Event, Oversize
from tests.support.dead_letters import KEY, MS, RULES, TEXT, letter_record, read


@pytest.mark.parametrize(
    ("selection", "matches"),
    [
        (DeadLetterFilter(), True),
        (DeadLetterFilter(sessions=("local/5e55",)), True),
        (DeadLetterFilter(sessions=("other/x", "local/*")), True),
        (DeadLetterFilter(sessions=("other/*",)), False),
        (DeadLetterFilter(reason="rejected", event="con*"), True),
        (DeadLetterFilter(reason="schema"), False),
        (DeadLetterFilter(event="tool_*"), False),
        (DeadLetterFilter(since_ms=MS), True),
        (DeadLetterFilter(since_ms=MS + 1), False),
        (DeadLetterFilter(places=frozenset({Place(3, 120)})), True),
        (DeadLetterFilter(places=frozenset({Place(3, 121)})), False),
        (DeadLetterFilter(numbers=frozenset({EventSequence(1_764_000_000, 7)}), places=frozenset({Place(0, 0)})), True),
    ],
)
def test_a_dead_letter_must_meet_all_conditions(selection: DeadLetterFilter, matches: bool) -> None:  # noqa: FBT001 - a case
    """An address or an id is enough to name one."""
    assert selection.matches(read(letter_record())) is matches


def test_an_event_type_with_brackets_selects_itself() -> None:
    """A text is compared literally, then as a pattern."""
    assert DeadLetterFilter(event="a[b]").matches(read(letter_record(name="a[b]")))


def test_an_id_has_ten_digits_before_the_colon_and_an_address_fewer() -> None:
    assert parse_reference("3:1764000000") == Place(3, 1_764_000_000)
    assert parse_reference("1764000000:000000000007") == EventSequence(1_764_000_000, 7)
    assert parse_reference("1764000000:7") == EventSequence(1_764_000_000, 7)
    for wrong in ("", "3", "a:b", "3:-1", "12345678901:1", "\u0663:1"):
        with pytest.raises(ValueError, match="neither"):
            parse_reference(wrong)


def test_groups_add_up() -> None:
    """Count, full bytes, first and last time, sorted by session, reason and type."""
    letters = [
        read(letter_record("{", received_ms=MS + 20)),
        read(letter_record("{{", received_ms=MS)),
        read(letter_record("{", key=SessionKey("a", "b"))),
    ]
    assert grouped(letters) == {
        Kind(SessionKey("a", "b"), "rejected", "content"): Group(1, 1, MS, MS),
        Kind(KEY, "rejected", "content"): Group(2, 3, MS, MS + 20),
    }
    assert [kind.key.server for kind in grouped(letters)] == ["a", "local"]


FORMATS = get_args(Format)
GOOD = '{"type":"content","content":"x"}'
WRONG = '{"type":"content","content":42}'


def today(form: Format = "structured", **more: object) -> dict[str, Rules]:
    return {"local": replace(RULES, format=form, **more)}  # type: ignore[arg-type]  # any of its fields


def replayed(data: str = GOOD, rules: dict[str, Rules] | None = None, **event: object) -> Record | Unsendable:
    return as_record(read(letter_record(data, **event)), rules or today())  # type: ignore[arg-type]  # of an event


@pytest.mark.parametrize("form", FORMATS)
def test_a_replayed_record_is_the_original_with_a_mark(form: Format) -> None:
    """Key, number, time, id and data are those of the event."""
    record = replayed(rules=today(form))
    assert isinstance(record, Record)
    plain = Encoder(today(form)["local"], KEY).encode(Event("content", GOOD, "41", "41", MS), 1_764_000_000, 7)
    assert plain is not None
    assert (record.topic, record.key, record.timestamp_ms) == (plain.topic, plain.key, plain.timestamp_ms)
    if form == "structured":
        envelope = json.loads(record.value)
        assert envelope.pop("replayed") is True
        assert envelope == json.loads(plain.value)
        assert record.headers == plain.headers
    else:
        mark = {"binary": "ce_replayed", "raw": "bridge.replayed"}[form]
        assert record.headers == [*plain.headers, (mark, b"true")]
        assert record.value == plain.value


def test_marking_a_record_does_not_change_others() -> None:
    """Structured records share one list of headers."""
    for form in FORMATS:
        rules = today(form)["local"]
        plain = Encoder(rules, KEY).encode(Event("content", GOOD, "41", "41", MS), 1, 1)
        assert plain is not None
        before = list(plain.headers)
        marked(plain, rules)
        assert plain.headers == before


@pytest.mark.parametrize("form", FORMATS)
@given(data=TEXT, name=TEXT.filter(lambda name: name not in {"", "connected", "heartbeat"}), session=TEXT)
def test_a_replayed_record_is_recognised_by_its_mark(form: Format, data: str, name: str, session: str) -> None:
    """For any texts in it. The record without the mark is not replayed."""
    rules = replace(RULES, format=form, schema=None, skip=frozenset())
    key = replace(KEY, session_id=f'{session}"id":"1:2"')
    plain = Encoder(rules, key).encode(Event(name, data, None, "", MS), 1_764_000_000, 12)
    assert plain is not None
    original = NumberedRecord(1_764_000_000, 12, replayed=False, dead_letter=False)
    assert number_of(plain.value, plain.headers) == original
    again = marked(plain, rules)
    assert number_of(again.value, again.headers) == original._replace(replayed=True)


def test_data_that_looks_like_a_mark_is_not_a_mark() -> None:
    """The mark is part of the envelope or of the headers."""
    data = '{"replayed":true,"id":"1764000000:000000000012"}'
    for form in FORMATS:
        rules = replace(RULES, format=form, schema=None)
        plain = Encoder(rules, KEY).encode(Event("x", data, None, "", MS), 1, 1)
        assert plain is not None
        numbered = number_of(plain.value, plain.headers)
        assert numbered is not None
        assert not numbered.replayed


@pytest.mark.parametrize(
    ("result", "why", "advice"),
    [
        (replayed(WRONG), "still schema: content: Input should be a valid string", "events.invalid = publish"),
        (replayed("{"), "still invalid_json: not JSON", "events.invalid = publish"),
        (replayed("{}", today(unknown="dead_letter"), name="wild"), "still unknown_event", "events.unknown = publish"),
        (replayed(GOOD, today(max_bytes=99)), "still oversize: larger than events.max_bytes", "raise events.max_bytes"),
        (replayed(GOOD, today(skip=frozenset({"content"}))), "the rules skip it", "events.skip"),
        (replayed(WRONG, today(invalid="skip")), "the rules skip it", "events.invalid"),
        (replayed(GOOD, {"other": RULES}), "the settings have no server 'local'", "--set servers.local.url=URL"),
        (replayed("x", oversize=Oversize(9, "ab" * 32)), "only 1 of its 9 bytes were kept", "cannot be replayed"),
    ],
)
def test_a_dead_letter_that_cannot_be_sent_has_a_reason_and_a_hint(result: object, why: str, advice: str) -> None:
    """It never becomes a second dead letter."""
    assert isinstance(result, Unsendable)
    assert result.why.startswith(why)
    assert advice in result.advice


def test_data_that_is_not_utf_8_cannot_be_sent() -> None:
    """The bridge replaces such bytes when it reads them, so it did not write the dead letter."""
    letter = read(letter_record("x"))
    foreign = replace(letter, data=b"\xff", sha256=sha256(b"\xff").hexdigest())
    assert as_record(foreign, today()) == Unsendable("its data is not UTF-8", "the bridge did not write it")


@given(invalid=st.sampled_from([WRONG, "{", "plain text"]))
def test_todays_policy_applies(invalid: str) -> None:
    """An event that an earlier policy refused is published unchanged."""
    record = replayed(invalid, today(invalid="publish"))
    assert isinstance(record, Record)
    assert record.dead_letter is None
    assert record.value.startswith(b'{"replayed":true,"specversion"')


def test_an_event_without_an_id_has_no_sseid() -> None:
    """Otherwise the last event id is used as its id."""
    record = replayed(GOOD, last_event_id="", id=None)
    assert isinstance(record, Record)
    assert "sseid" not in json.loads(record.value)
