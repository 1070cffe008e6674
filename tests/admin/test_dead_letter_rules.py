"""Dead letters under today's rules: what they become, how it is marked and found again, why some stay."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.admin.dead_letters.rules import Stays, as_record, marked, replayed_number
from bridge.core.records.dead_letter import Number
from bridge.core.records.rules import Encoder, Format, Record, Rules
from bridge.core.stream.event import Event, Oversize
from tests.support.dead_letters import KEY, MS, RULES, TEXT, letter_record, read

FORMATS = get_args(Format)
GOOD = '{"type":"content","content":"x"}'
WRONG = '{"type":"content","content":42}'


def today(form: Format = "structured", **more: object) -> dict[str, Rules]:
    return {"local": replace(RULES, format=form, **more)}  # type: ignore[arg-type]  # any of its fields


def replayed(data: str = GOOD, rules: dict[str, Rules] | None = None, **event: object) -> Record | Stays:
    return as_record(read(letter_record(data, **event)), rules or today())  # type: ignore[arg-type]  # of an event


@pytest.mark.parametrize("form", FORMATS)
def test_a_replayed_record_is_the_original_but_for_its_mark(form: Format) -> None:
    """Key, number, time, id and data are those of the event; the mark is the only difference."""
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


def test_the_headers_of_other_records_stay_as_they_are() -> None:
    """Structured records share one list: a mark must not get into it."""
    for form in FORMATS:
        rules = today(form)["local"]
        plain = Encoder(rules, KEY).encode(Event("content", GOOD, "41", "41", MS), 1, 1)
        assert plain is not None
        before = list(plain.headers)
        marked(plain, rules)
        assert plain.headers == before


@pytest.mark.parametrize("form", FORMATS)
@given(data=TEXT, name=TEXT.filter(lambda name: name not in {"", "connected", "heartbeat"}), session=TEXT)
def test_a_replayed_record_is_found_by_its_number(form: Format, data: str, name: str, session: str) -> None:
    """Whatever the texts in it; the same record without the mark is not taken for one."""
    rules = replace(RULES, format=form, schema=None, skip=frozenset())
    key = replace(KEY, session_id=f'{session}"id":"1:2"')
    plain = Encoder(rules, key).encode(Event(name, data, None, "", MS), 1_764_000_000, 12)
    assert plain is not None
    assert replayed_number(plain.value, plain.headers) is None
    again = marked(plain, rules)
    assert replayed_number(again.value, again.headers) == Number(1_764_000_000, 12)


def test_data_that_looks_like_a_mark_is_none() -> None:
    """The server's own text decides nothing."""
    data = '{"replayed":true,"id":"1764000000:000000000012"}'
    for form in FORMATS:
        rules = replace(RULES, format=form, schema=None)
        plain = Encoder(rules, KEY).encode(Event("x", data, None, "", MS), 1, 1)
        assert plain is not None
        assert replayed_number(plain.value, plain.headers) is None


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (None, []),
        (b'{"replayed":true,"no":"id"}', [("content-type", b"application/cloudevents+json")]),
        (b"", [("ce_replayed", b"true"), ("ce_epoch", b"x")]),
        (b"", [("bridge.replayed", b"true"), ("bridge.epoch", b"9" * 5000), ("bridge.sequence", b"1")]),
        (b"", [("ce_replayed", b"false"), ("ce_epoch", b"1"), ("ce_sequence", b"1")]),
        (b"", [("ce_replayed", None)]),
    ],
)
def test_marks_without_a_number_are_nobodys(value: bytes | None, headers: list[tuple[str, bytes | None]]) -> None:
    """Somebody else's records are passed over."""
    assert replayed_number(value, headers) is None


@pytest.mark.parametrize(
    ("stays", "why", "advice"),
    [
        (replayed(WRONG), "still schema: content: Input should be a valid string", "events.invalid = publish"),
        (replayed("{"), "still invalid_json: not JSON", "events.invalid = publish"),
        (replayed("{}", today(unknown="dead_letter"), name="wild"), "still unknown_event", "events.unknown = publish"),
        (
            replayed(GOOD, today(max_bytes=100)),
            "still oversize: larger than events.max_bytes",
            "raise events.max_bytes",
        ),
        (replayed(GOOD, today(skip=frozenset({"content"}))), "today's rules skip it", "events.skip"),
        (replayed(WRONG, today(invalid="skip")), "today's rules skip it", "events.invalid"),
        (replayed(GOOD, {"other": RULES}), "the settings have no server 'local'", "--set servers.local.url=URL"),
        (replayed("x", oversize=Oversize(9, "ab" * 32)), "only 1 of its 9 bytes were kept", "cannot be replayed"),
    ],
)
def test_what_cannot_be_sent_stays_with_a_reason_and_a_way_out(stays: object, why: str, advice: str) -> None:
    """Told, and never a new dead letter."""
    assert isinstance(stays, Stays)
    assert stays.why.startswith(why)
    assert advice in stays.advice


def test_bytes_that_the_bridge_cannot_have_written_stay() -> None:
    """It replaces what is not UTF-8 before anything else sees it."""
    letter = read(letter_record("x"))
    foreign = replace(letter, data=b"\xff", sha256=sha256(b"\xff").hexdigest())
    assert as_record(foreign, today()) == Stays("its data is not UTF-8", "the bridge did not write it")


@given(flawed=st.sampled_from([WRONG, "{", "plain text"]))
def test_today_s_policy_decides(flawed: str) -> None:
    """What was refused under yesterday's policy goes through today's, as it came."""
    record = replayed(flawed, today(invalid="publish"))
    assert isinstance(record, Record)
    assert record.dead_letter is None
    assert record.value.startswith(b'{"replayed":true,"specversion"')


def test_an_event_without_any_id_has_none_in_its_record() -> None:
    """And the stream's last id stands for one that is not kept."""
    record = replayed(GOOD, last_event_id="", id=None)
    assert isinstance(record, Record)
    assert "sseid" not in json.loads(record.value)
