"""Records say where the schema of their data is, and their data stays as it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.core.identity import SessionKey
from bridge.core.records.encoder import Encoder
from bridge.core.stream.event import Event
from bridge.errors import SettingsError
from bridge.settings import load
from tests.consumer.records import NOW, RULES

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
