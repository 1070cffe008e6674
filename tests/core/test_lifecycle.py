"""Lifecycle records: the same envelope as events, and data with the reason."""

from __future__ import annotations

import json
from typing import Any, get_args
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.identity import UNSENDABLE_ID, SessionKey
from bridge.core.records.lifecycle import Kind, LifecycleEvent, LifecycleWriter
from bridge.core.records.record import Record
from tests.support.rule import understand
from tests.support.topics import Read

KEY = SessionKey("local", "5e55-10n")
EPOCH = 1_764_000_000
NOW = 1_764_000_123_456
GAP = LifecycleEvent("gap", "jump", "the server's ids jump from 41 to 50", "41", "50", 8)
STRANGE = 'a"b\\c\n\x00\x1f%/# \u2028\u00e9\U0001f600'


def record(lifecycle_event: LifecycleEvent = GAP, key: SessionKey = KEY, new_epoch: int | None = None) -> Record:
    """The record of a lifecycle event after number 7."""
    return LifecycleWriter(key, "mix.lifecycle").record(lifecycle_event, EPOCH, 7, NOW, new_epoch)


def data_of(made: Record) -> dict[str, Any]:
    """The data of the envelope."""
    found: dict[str, Any] = json.loads(made.value)["data"]
    return found


def test_the_envelope_is_a_structured_cloudevent_with_the_number_it_follows() -> None:
    """Key, topic and headers are those of events; it is not a dead letter."""
    made = record()
    envelope = json.loads(made.value)
    assert envelope == {
        "specversion": "1.0",
        "id": f"1764000000:000000000007:gap:{NOW}",
        "source": "/mix/local/sessions/5e55-10n",
        "type": "mix.bridge.session.gap",
        "subject": "5e55-10n",
        "time": "2025-11-24T16:02:03.456Z",
        "datacontenttype": "application/json",
        "sequence": "1764000000:000000000007",
        "epoch": "1764000000",
        "data": {
            "reason": "jump",
            "detail": "the server's ids jump from 41 to 50",
            "from_last_event_id": "41",
            "to_last_event_id": "50",
            "missing": 8,
        },
    }
    assert made.headers == [("content-type", b"application/cloudevents+json; charset=UTF-8")]
    assert (made.topic, made.key, made.timestamp_ms) == ("mix.lifecycle", b"local/5e55-10n", NOW)
    assert made.dead_letter is None


@pytest.mark.parametrize("kind", get_args(Kind))
def test_each_kind_has_its_own_type(kind: Kind) -> None:
    """And its own id, so that two records at one position differ."""
    envelope = json.loads(record(LifecycleEvent(kind, "code", "why")).value)
    assert envelope["type"] == f"mix.bridge.session.{kind}"
    assert f":{kind}:" in envelope["id"]


def test_unknown_members_are_null() -> None:
    """Every member is present; a new epoch is named only if one starts."""
    nothing = {"from_last_event_id": None, "to_last_event_id": None, "missing": None}
    assert data_of(record(LifecycleEvent("attached", "first", "why"))) == {"reason": "first", "detail": "why"} | nothing


def test_an_empty_id_and_no_missing_event_are_known() -> None:
    """An empty id means that the request had none; 0 missing differs from unknown."""
    found = data_of(record(LifecycleEvent("resumed", "matched", "why", "", "", 0)))
    assert (found["from_last_event_id"], found["to_last_event_id"], found["missing"]) == ("", "", 0)


def test_a_new_epoch_is_named_in_ten_digits() -> None:
    """The envelope has the number that the record follows, the data has the epoch that starts."""
    made = record(new_epoch=123)
    assert data_of(made)["new_epoch"] == "0000000123"
    assert json.loads(made.value)["epoch"] == "1764000000"


def test_a_consumer_of_events_understands_the_record() -> None:
    """The number is where it is in events."""
    made = record()
    headers = tuple(made.headers)
    found = understand(Read("mix.lifecycle", 0, 0, made.key, made.value, headers, made.timestamp_ms))
    assert (found.key, found.number, found.event) == ("local/5e55-10n", (EPOCH, 7), "mix.bridge.session.gap")
    assert json.loads(found.data) == data_of(made)


def test_unusual_names_and_ids_cannot_break_the_envelope() -> None:
    """Ids are unchanged; the detail is one line."""
    lifecycle_event = LifecycleEvent("reset", "r", STRANGE, STRANGE, STRANGE)
    envelope = json.loads(record(lifecycle_event, SessionKey("local", STRANGE)).value)
    assert envelope["subject"] == STRANGE
    assert unquote(envelope["source"].rsplit("/", 1)[1]) == STRANGE
    assert envelope["data"]["from_last_event_id"] == envelope["data"]["to_last_event_id"] == STRANGE
    assert envelope["data"]["detail"].isprintable()


def test_a_long_id_is_cut_with_an_ellipsis() -> None:
    """256 characters with the ellipsis; one of 256 stays whole."""
    found = data_of(record(LifecycleEvent("gap", "r", "d", "x" * 257, "y" * 256)))
    assert found["from_last_event_id"] == "x" * 255 + "\u2026"
    assert found["to_last_event_id"] == "y" * 256


def test_an_id_that_was_too_long_to_keep_is_an_ellipsis() -> None:
    """The bridge's internal replacement for it does not appear."""
    assert data_of(record(LifecycleEvent("unresumable", "r", "d", UNSENDABLE_ID)))["from_last_event_id"] == "\u2026"


@given(st.text(), st.text(), st.text(), st.integers(0, 10**12))
def test_the_value_is_always_json(detail: str, before: str, after: str, missing: int) -> None:
    """It holds the given texts, except for the parts that were cut."""
    found = data_of(record(LifecycleEvent("gap", "r", detail, before, after, missing), new_epoch=EPOCH + 1))
    for given_id, shown in ((before, found["from_last_event_id"]), (after, found["to_last_event_id"])):
        assert given_id in {shown, UNSENDABLE_ID} or given_id.startswith(shown.removesuffix("\u2026"))
    assert found["missing"] == missing


@pytest.mark.parametrize("filling", ["x", "\u00e9", "\u20ac", "\U0001f600", "\x01", '"', "\\"])
def test_a_record_is_below_4_kib_whatever_the_server_sends(filling: str) -> None:
    """Bytes count, not characters. The session's own id is in it three times; 512 letters fit."""
    much = filling * 9000
    lifecycle_event = LifecycleEvent("unresumable", "x" * 40, much, much, much, 10**12)
    made = record(lifecycle_event, SessionKey("local", "x" * 512), new_epoch=EPOCH + 1)
    size = len(made.value) + len(made.key) + sum(len(name) + len(value) for name, value in made.headers)
    assert size < 4096
