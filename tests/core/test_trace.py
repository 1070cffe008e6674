"""What describes an event in its record: the trace context and the schema of its data."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from bridge.core.identity import SessionKey
from bridge.core.records.encoder import Encoder
from bridge.core.records.formats import traceparent
from bridge.core.records.record import Record
from bridge.core.stream.event import Event
from bridge.errors import SettingsError
from bridge.mix.rules import rules_of
from bridge.settings import load
from tests.consumer.records import NOW, RULES, record

KEY = SessionKey("local", "a")
EPOCH = "1767225600"


def traced(format_: str, data: str = '{"type":"content","content":"Hi"}', received_ms: int = NOW) -> Record:
    """A record with the trace context."""
    rules = replace(RULES, format=format_, traceparent=True)  # type: ignore[arg-type]
    made = Encoder(rules, SessionKey("demo", "a/b")).encode(Event("content", data, "7", "7", received_ms, None), 5, 6)
    assert made is not None
    return made


def test_it_is_a_valid_trace_context() -> None:
    """W3C Trace Context, section 3.2: version 00, ids that are not zero."""
    value = traceparent(KEY, EPOCH, 1)
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", value)
    assert "0" * 16 not in value


def test_events_of_an_epoch_share_a_trace_and_nothing_else_does() -> None:
    """Session, epoch and number decide, so that a repeat has the same value."""
    one, other = traceparent(KEY, EPOCH, 1), traceparent(KEY, EPOCH, 2)
    assert one == traceparent(SessionKey("local", "a"), EPOCH, 1)
    assert one.split("-")[1] == other.split("-")[1]
    assert one.split("-")[2] != other.split("-")[2]
    different = {one, traceparent(KEY, "1767225601", 1), traceparent(SessionKey("local", "b"), EPOCH, 1)}
    assert len({value.split("-")[1] for value in different}) == 3


@pytest.mark.parametrize("format_", ["structured", "binary", "raw"])
def test_a_repeat_has_the_same_value_in_header_and_attribute(format_: str) -> None:
    """Although it was received at another time."""
    first, repeat = traced(format_), traced(format_, received_ms=NOW + 5000)
    expected = traceparent(SessionKey("demo", "a/b"), "0000000005", 6)
    for each in (first, repeat):
        headers = dict(each.headers)
        assert headers["traceparent"] == expected.encode()
        if format_ == "structured":
            assert f'"traceparent":"{expected}","data":{{'.encode() in each.value
        assert headers.get("ce_traceparent") == (expected.encode() if format_ == "binary" else None)


def test_a_dead_letter_has_the_header() -> None:
    """It has the number of its event."""
    headers = dict(traced("structured", "{}").headers)
    assert headers["bridge.reason"] == b"schema"
    assert headers["traceparent"] == traceparent(SessionKey("demo", "a/b"), "0000000005", 6).encode()


@pytest.mark.parametrize("format_", ["structured", "binary", "raw"])
def test_off_adds_not_a_byte(format_: str) -> None:
    """And on adds only the trace context."""
    off, on = record(data='{"type":"content","content":"Hi"}', format_=format_), traced(format_)
    parent = dict(on.headers)["traceparent"]
    assert off.value == on.value.replace(b',"traceparent":"%b"' % parent, b"")
    assert off.headers == [(name, text) for name, text in on.headers if not name.endswith("traceparent")]


def test_the_setting_switches_it() -> None:
    """Off by default; a change of it starts no new epoch, because it does not decide what is numbered."""
    base = {"servers.local.url": "http://localhost:8088"}
    off, on = (rules_of("local", load(base | more, {})) for more in ({}, {"telemetry.traceparent": "on"}))
    assert (off.traceparent, on.traceparent) == (False, True)
    assert off.fingerprint("at_least_once") == on.fingerprint("at_least_once")


DATA = '{"type":"content",  "content":"Hi"}'
SCHEMA_ID = b"\x00\x00\x00\x00\x07"


def encode(format_: str, name: str = "content", data: str = DATA) -> tuple[bytes, dict[str, bytes]]:
    """Value and headers of an event with everything on."""
    described = {"dataschema": "https://example.com/{event}.json", "schema_ids": {"content": SCHEMA_ID}}
    rules = replace(RULES, format=format_, **described)  # type: ignore[arg-type]
    made = Encoder(rules, SessionKey("demo", "a")).encode(Event(name, data, "7", "7", NOW, None), 5, 6)
    assert made is not None
    return made.value, dict(made.headers)


def test_a_structured_record_has_the_attribute_only() -> None:
    """Its value is an envelope, so an id in the header would be that of another schema."""
    value, headers = encode("structured")
    assert b'"subject":"a","dataschema":"https://example.com/content.json","datacontenttype"' in value
    assert list(headers) == ["content-type"]


def test_a_binary_record_has_attribute_and_id() -> None:
    """The value is the data, byte for byte."""
    value, headers = encode("binary")
    assert value == DATA.encode()
    assert (headers["ce_dataschema"], headers["__value_schema_id"]) == (b"https://example.com/content.json", SCHEMA_ID)


def test_a_raw_record_has_the_id() -> None:
    """It has no attributes."""
    value, headers = encode("raw")
    assert value == DATA.encode()
    assert headers["__value_schema_id"] == SCHEMA_ID
    assert not [name for name in headers if name.startswith("ce_")]


@pytest.mark.parametrize("format_", ["structured", "binary", "raw"])
def test_an_event_without_a_schema_and_a_dead_letter_have_neither(format_: str) -> None:
    """Their data has no schema, or violates it."""
    for value, headers in (encode(format_, "novelty"), encode(format_, data="{}")):
        assert b"dataschema" not in value
        assert not {"ce_dataschema", "__value_schema_id"} & set(headers)


@pytest.mark.parametrize("uri", ["content.json", "", "https://x/{name}.json", "https://x/{event", "https://a b/"])
def test_a_dataschema_that_is_no_uri_is_refused(uri: str) -> None:
    """CloudEvents requires an absolute URI."""
    with pytest.raises(SettingsError):
        load({"schemas.dataschema": uri}, {})
