"""The library reads every record of the bridge, in every format, and refuses every other record."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.consumer import Event, NotAnEvent, event_of
from bridge.core.records.numbers import number_of
from bridge.core.records.record import Record
from tests.consumer.records import lifecycle, record

FORMATS = ("structured", "binary", "raw")
NUMBER = "0000000005:000000000006"
WHERE = ("mix.events", 3, 42)


def read(made: Record) -> Event:
    return event_of(WHERE, made.key, made.value, made.headers)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("replayed", [False, True])
def test_every_format_gives_the_same_event(format_: str, *, replayed: bool) -> None:
    """All fields, those of the address included."""
    data = '{"type": "content",  "content":"\\u00e9 \u00e9 \u2028 }{,\\",\\"data\\":1"}'
    assert read(record(data=data, format_=format_, replayed=replayed)) == Event(
        server="demo",
        session="a/b",
        type="content",
        epoch=5,
        number=6,
        sequence=NUMBER,
        id=NUMBER,
        time=datetime(2026, 1, 1, 0, 0, 12, 345_000, UTC),
        sse_id="7",
        data=data.encode(),
        replayed=replayed,
        topic="mix.events",
        partition=3,
        offset=42,
        dead_letter=None,
    )


def test_an_event_is_frozen_and_parses_its_data() -> None:
    """Nobody can change an event that others hold."""
    event = read(record())
    assert event.json() == {"type": "content", "content": "6"}
    assert event.key == "demo/a/b"
    with pytest.raises(AttributeError):
        event.number = 7  # type: ignore[misc]


@pytest.mark.parametrize("format_", FORMATS)
def test_text_that_is_not_json_comes_back(format_: str) -> None:
    """In the envelope it is a JSON string."""
    assert read(record(name="unheard_of", data='no "json"\n', format_=format_)).data == b'no "json"\n'


def test_an_event_without_an_id_has_none() -> None:
    """An empty id is another thing."""
    assert read(record(own_id=None)).sse_id is None
    assert read(record(own_id="")).sse_id == ""


def test_a_dead_letter_comes_back_with_its_reason() -> None:
    """Its type and number are those of its event."""
    event = read(record(data="{}"))
    assert (event.dead_letter, event.type, event.sequence, event.data) == ("schema", "content", NUMBER, b"{}")


def test_a_lifecycle_record_keeps_its_id_and_its_whole_type() -> None:
    """It repeats the number that it follows, so it must not be taken for the event of that number."""
    event = read(lifecycle())
    assert (event.type, event.sequence, event.is_lifecycle) == ("mix.bridge.session.gap", NUMBER, True)
    assert event.id.startswith(f"{NUMBER}:gap:")
    assert event.json()["missing"] == 8
    assert not read(record()).is_lifecycle


def test_another_prefix_is_removed_from_the_type() -> None:
    made = record()
    value = made.value.replace(b'"mix.content"', b'"acme.content"')
    assert event_of(WHERE, made.key, value, made.headers, type_prefix="acme.").type == "content"
    assert event_of(WHERE, made.key, value, made.headers).type == "acme.content"


STRUCTURED = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
ENVELOPE = {
    "type": "mix.content",
    "datacontenttype": "application/json",
    "time": "2026-01-01T00:00:12.345Z",
    "epoch": NUMBER[:10],
    "sequence": NUMBER,
    "data": {"a": 1e5},
    "later": "x",
}


@pytest.mark.parametrize("indent", [None, 1])
def test_an_envelope_of_another_writer_is_understood(indent: int | None) -> None:
    """With other whitespace, other members, and data that is not the last one."""
    event = event_of(WHERE, b"demo/a", json.dumps(ENVELOPE, indent=indent).encode(), STRUCTURED)
    assert (event.sequence, event.json()) == (NUMBER, {"a": 1e5})


@pytest.mark.parametrize("format_", FORMATS)
def test_the_numbers_of_version_1_become_todays(format_: str) -> None:
    """It wrote the sequence without the epoch; strings of one form compare."""
    made = record(format_=format_)
    old = NUMBER[11:].encode()
    if format_ == "structured":
        value, headers = made.value.replace(b'"sequence":"' + NUMBER.encode(), b'"sequence":"' + old), made.headers
    else:
        value, headers = made.value, [(n, old if n.endswith("sequence") else text) for n, text in made.headers]
    assert event_of(WHERE, made.key, value, headers).sequence == NUMBER


def test_a_record_without_a_time_has_kafkas() -> None:
    """The attribute is optional in CloudEvents."""
    value = json.dumps({name: text for name, text in ENVELOPE.items() if name != "time"}).encode()
    assert event_of(WHERE, b"demo/a", value, STRUCTURED, timestamp_ms=1000).time == datetime(
        1970, 1, 1, 0, 0, 1, 0, UTC
    )


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (None, json.dumps(ENVELOPE).encode(), STRUCTURED),
        (b"no session", json.dumps(ENVELOPE).encode(), STRUCTURED),
        (b"/a", json.dumps(ENVELOPE).encode(), STRUCTURED),
        (b"\xff/a", json.dumps(ENVELOPE).encode(), STRUCTURED),
        (b"demo/a", b"", STRUCTURED),
        (b"demo/a", b"[]", STRUCTURED),
        (b"demo/a", b'{"data":1', STRUCTURED),
        (b"demo/a", b'{"specversion":"1.0","source":"/mix/,"data":1}', STRUCTURED),
        (b"demo/a", b"\xff", STRUCTURED),
        (b"demo/a", b"[" * 100_000, STRUCTURED),
        (b"demo/a", b'{"data":' + b"[" * 100_000, STRUCTURED),
        (b"demo/a", json.dumps({**ENVELOPE, "epoch": "0000000006"}).encode(), STRUCTURED),
        (b"demo/a", json.dumps({**ENVELOPE, "sequence": 6}).encode(), STRUCTURED),
        (b"demo/a", json.dumps({**ENVELOPE, "sequence": "\u0661"}).encode(), STRUCTURED),
        (b"demo/a", json.dumps({**ENVELOPE, "type": None}).encode(), STRUCTURED),
        (b"demo/a", json.dumps({**ENVELOPE, "time": "now"}).encode(), STRUCTURED),
        (b"demo/a", json.dumps({**ENVELOPE, "time": 10**30}).encode(), STRUCTURED),
        (b"demo/a", json.dumps({name: ENVELOPE[name] for name in ENVELOPE if name != "data"}).encode(), STRUCTURED),
        (b"demo/a", json.dumps(ENVELOPE).encode(), []),
        (b"demo/a", json.dumps(ENVELOPE).encode(), None),
        (b"demo/a", None, STRUCTURED),
        (b"demo/a", b"{}", [("bridge.reason", b"schema")]),
        (b"demo/a", json.dumps({**ENVELOPE, "specversion": "2.0"}).encode(), STRUCTURED),
        (b"demo/a", b"{}", [*record(format_="binary").headers, ("ce_specversion", b"2.0")]),
        (b"demo/a", b"{}", [("ce_specversion", None)]),
        (b"demo/a", b"{}", [("ce_specversion", b"1.0"), ("ce_epoch", b"\xff"), ("ce_sequence", b"1")]),
    ],
)
def test_anything_else_is_no_event(key, value, headers):
    """One kind of error, on one line without the record's data, so that a reader can skip and count it."""
    with pytest.raises(NotAnEvent) as refused:
        event_of(WHERE, key, value, headers)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("foreign", [7, 4.5, [1], {"a": 1}, True, "text"])
def test_members_of_another_writer_are_text(foreign: object) -> None:
    """An event's fields have their types in any envelope."""
    odd = {"sseid": foreign, "reason": foreign, "error": foreign}
    event = event_of(WHERE, b"demo/a", json.dumps({**ENVELOPE, **odd}).encode(), STRUCTURED)
    assert (event.sse_id, event.dead_letter, event.error) == (str(foreign),) * 3


@given(key=st.binary(max_size=20), value=st.binary(max_size=200), kind=st.sampled_from([STRUCTURED, [], None]))
def test_no_bytes_raise_anything_else(key: bytes, value: bytes, kind: list[tuple[str, bytes]] | None) -> None:
    """Of records that anybody may have written."""
    with pytest.raises(NotAnEvent):
        event_of(WHERE, key, value, kind)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("data", [None, "{}", "no json"])
@pytest.mark.parametrize("replayed", [False, True])
def test_the_number_is_the_one_that_verify_reads(format_: str, data: str | None, *, replayed: bool) -> None:
    """The library parses the whole record, `verify` only the number: both must see the same."""
    made = record(
        data=data, name="content" if data == "{}" else "new", format_=format_, replayed=replayed and data != "{}"
    )
    event, number = read(made), number_of(made.value, made.headers)
    assert number is not None
    assert (event.epoch, event.number, event.replayed, event.dead_letter is not None) == tuple(number)
