"""docs/records.md describes every record: its examples are what the code writes, and no name is missing."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event, from_structured_event

from bridge.admin.contract import ATTRIBUTES, HEADERS, LIFECYCLE_DATA, LIFECYCLE_KINDS
from bridge.core.records import checkpoint
from bridge.core.records.claim import Claim
from bridge.core.records.encoder import Encoder
from bridge.core.records.record import Record
from tests.consumer.records import lifecycle, record
from tests.docs.records import HELLO, KEY, PAGE, examples, named, reasons, written
from tests.fakes.rules import RULES
from tests.support.record_names import described, names
from tests.support.repository import REPOSITORY


def test_the_examples_are_what_the_code_writes() -> None:
    """After a change of the records: ``python -m tests.docs.records``."""
    assert PAGE.read_text() == written(PAGE.read_text())
    assert set(named()) == set(examples())


def test_every_name_is_on_the_page() -> None:
    """Attributes, headers, members of lifecycle data, and kinds; the reasons have a test of their own."""
    known = {*ATTRIBUTES, *HEADERS, "content-type", "__value_schema_id", *LIFECYCLE_DATA, *LIFECYCLE_KINDS}
    known |= {f"ce_{name}" for name in ATTRIBUTES if name != "datacontenttype"}
    assert known - described() == set()


def test_every_member_of_internal_records_is_on_the_page() -> None:
    """Checkpoints with their overlap, and claims."""
    members = {name for model in (checkpoint._Value, checkpoint._Overlap) for name in model.model_fields}
    assert members | {each.name for each in fields(Claim)} <= described()


def test_every_reason_in_the_code_has_a_meaning() -> None:
    """And each meaning belongs to a reason in the code."""
    folders = (REPOSITORY / "bridge" / name for name in ("core/stream", "daemon"))
    files = [*(path for folder in folders for path in folder.glob("*.py")), REPOSITORY / "bridge/core/in_flight.py"]
    code = "\n".join(path.read_text() for path in files)
    kinds = "|".join(LIFECYCLE_KINDS)
    found = set(re.findall(rf'\(\s*"(?:{kinds})",\s*"([a-z_]+)"', code))
    found |= set(re.findall(r'(?:Loss|SessionOver|_end)\("([a-z_]+)"', code))
    assert len(found) > 20
    assert found - set(reasons()) == set()
    assert [reason for reason in reasons() if f'"{reason}"' not in code] == []


@pytest.mark.parametrize(
    ("topic", "made", "name"),
    [
        ("x.events", ("new_header", b"1"), "new_header"),
        ("x.events", b'"later":1,', "later"),
        ("x.lifecycle", b'"reason":"sudden",', "sudden"),
        ("x.checkpoints", b'{"version":1,"term":1,"later":2}', "later"),
    ],
)
def test_a_name_that_is_not_described_is_found(topic: str, made: Any, name: str) -> None:
    """By the hook that all tests with Kafka use."""
    if topic == "x.checkpoints":
        found = names(topic, b"local/a", made, [])
    elif isinstance(made, tuple):
        found = names(topic, b"local/a", record().value, [*record().headers, made])
    elif topic == "x.events":
        found = names(topic, b"local/a", record().value.replace(b'"time"', made + b'"time"'), record().headers)
    else:
        value = lifecycle().value.replace(b'"reason":"jump",', made)
        found = names(topic, b"local/a", value, lifecycle().headers)
    assert name in set(found) - described()


@pytest.mark.parametrize("name", ["exactly_once", "forgotten", "claim"])
def test_records_of_the_bridges_own_are_looked_at_too(name: str) -> None:
    """Their key, every member, and the headers of a tombstone."""
    value = b'{"version":1,"later":2}' if name == "exactly_once" else b'{"version":1,"term":1,"nonce":"a","later":2}'
    found = set(names("x.checkpoints", f"#{name}".encode(), value, [("bridge.other", b"1")]))
    assert found - described() == {"later", "bridge.other"}
    assert f"#{name}" in found
    assert list(names("x.checkpoints", b"local/a", None, [("bridge.term", b"1")])) == ["bridge.term"]


# CloudEvents' own SDK


def kafka_message(made: Record) -> KafkaMessage:
    """The record as the SDK wants it."""
    return KafkaMessage(headers=dict(made.headers), key=made.key, value=made.value)


def test_the_sdk_of_cloudevents_reads_a_record_of_each_kind() -> None:
    """Structured, binary and lifecycle records, with every optional attribute; a raw one is no CloudEvent."""
    optional = {"traceparent": True, "dataschema": "https://example.com/{event}.json", "schema_ids": {"content": b"1"}}
    for format_, read in (("structured", from_structured_event), ("binary", from_binary_event)):
        made = Encoder(replace(RULES, format=format_, **optional), KEY).encode(HELLO, 1767225600, 42)  # type: ignore[arg-type]
        assert made is not None
        event = read(kafka_message(made))
        assert event.get_id() == event.get_extension("sequence") == "1767225600:000000000042"
        assert (event.get_type(), event.get_subject(), event.get_source()) == (
            "mix.content",
            "8d0f3c",
            "/mix/local/sessions/8d0f3c",
        )
        assert event.get_dataschema() == "https://example.com/content.json"
        assert event.get_extension("traceparent") == dict(made.headers)["traceparent"].decode()
        assert event.get_data() == json.loads(HELLO.data)
    event = from_structured_event(kafka_message(lifecycle()))
    assert (event.get_type(), json.loads(json.dumps(event.get_data()))["missing"]) == ("mix.bridge.session.gap", 8)
    event = from_structured_event(kafka_message(record(replayed=True)))
    assert event.get_extension("replayed") is True
    event = from_structured_event(kafka_message(record(name="novelty", data="no JSON")))
    assert event.get_data() == "no JSON"
