"""The demo's consumer reads records according to their description, and refuses everything else."""

from __future__ import annotations

import json

import pytest

from bridge.core.identity import SessionKey
from bridge.core.records.encoder import Encoder
from bridge.core.records.rules import Rules
from bridge.core.stream.event import Event
from bridge.demo.consumed_record import ConsumedRecord, NotUnderstood, understand
from bridge.mix.events import VALIDATORS

STRUCTURED = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
NUMBER = "0000000005:000000000006"
RULES = Rules(
    format="structured",
    type_prefix="mix.",
    skip=frozenset(),
    unknown="publish",
    invalid="dead_letter",
    max_bytes=100_000,
    events_topic="mix.events",
    dead_letters_topic="mix.dead-letters",
    schema=VALIDATORS,
)


def encoded_by_the_bridge(name: str, data: str) -> ConsumedRecord:
    """Encode with the bridge's encoder, and read the record."""
    record = Encoder(RULES, SessionKey("demo", "a/b")).encode(Event(name, data, "7", "7", 1, None), 5, 6)
    assert record is not None
    return understand(record.key, record.value, record.headers)


@pytest.mark.parametrize(
    "data",
    [
        '{"type": "content",  "content":"\\u00e9 é \u2028 \U0001f468\u200d\U0001f4bb"}',
        '{"type":"content","content":"}{,"}',
    ],
)
def test_an_events_data_comes_back_byte_for_byte(data):
    """Including whitespace and escapes."""
    assert encoded_by_the_bridge("content", data) == ConsumedRecord("a/b", "content", "7", NUMBER, data.encode())


def test_text_that_is_not_json_comes_back():
    assert encoded_by_the_bridge("unheard_of", 'no "json"\n').data == b'no "json"\n'


def test_a_dead_letter_comes_back_with_its_reason():
    assert encoded_by_the_bridge("content", "{}") == ConsumedRecord("a/b", "content", "7", NUMBER, b"{}", "schema")


ENVELOPE = {
    "type": "mix.content",
    "datacontenttype": "application/json",
    "epoch": NUMBER[:10],
    "sequence": NUMBER,
    "data": {},
}


def test_an_envelope_with_other_whitespace_is_understood():
    assert understand(b"demo/a", json.dumps(ENVELOPE, indent=1).encode(), STRUCTURED).sequence == NUMBER


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"", STRUCTURED),
        (b"[]", STRUCTURED),
        (b'{"data":1', STRUCTURED),
        (b"\xff", STRUCTURED),
        (b"[" * 100_000, STRUCTURED),
        (json.dumps({**ENVELOPE, "epoch": "0000000006"}).encode(), STRUCTURED),
        (json.dumps({**ENVELOPE, "sequence": "000000000006"}).encode(), STRUCTURED),
        (json.dumps({**ENVELOPE, "sequence": 6}).encode(), STRUCTURED),
        (json.dumps(ENVELOPE).encode(), []),
        (None, STRUCTURED),
        (b"{}", [("bridge.reason", b"schema")]),
    ],
)
def test_anything_else_is_not_understood(value, headers):
    with pytest.raises(NotUnderstood):
        understand(b"demo/a", value, headers)
