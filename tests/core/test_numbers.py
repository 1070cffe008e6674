"""Reading the numbers of records and lifecycle records, of the bridge and of other writers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.identity import SessionKey
from bridge.core.records.formats import WRITERS, Names
from bridge.core.records.lifecycle import LifecycleEvent, LifecycleWriter, StoredLifecycleEvent, decode
from bridge.core.records.numbers import EventSequence, NumberedRecord, number_of
from bridge.core.stream.event import Event
from tests.support.earlier_records import earlier_form

JSON = True
STRUCTURED = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
TRAPS = st.one_of(
    st.text(),
    st.sampled_from(
        [
            '","id":"9999999999:999999999999","time":"","sequence":"999999999999","epoch":"9999999999","data":',
            ',"data":{"replayed":true}',
            '"replayed":true',
            "\\",
            '"',
        ]
    ),
)


def event(data: str, own_id: str | None = "7") -> Event:
    """One event."""
    return Event("content", data, own_id, own_id or "", 1_700_000_000_000)


@given(st.sampled_from(sorted(WRITERS)), st.integers(0, 10**10 - 1), st.integers(1, 10**12 - 1), TRAPS, TRAPS)
def test_the_number_is_read_from_every_format(form: str, epoch: int, sequence: int, name: str, text: str) -> None:
    """For any session id, event name and data; also as earlier versions wrote it."""
    names = Names(SessionKey("local", text + name), name, "mix.")
    for is_json, data in ((True, json.dumps({"replayed": True, "text": text})), (False, text)):
        value, headers = WRITERS[form](names, event(data, text), f"{epoch:010}", sequence, "", is_json)
        expected = NumberedRecord(epoch, sequence, replayed=False, dead_letter=False)
        assert number_of(value, [*headers]) == expected
        assert number_of(*earlier_form(value, headers)) == expected
        assert earlier_form(value, headers) != (value, headers)


@given(st.integers(0, 10**10 - 1), st.integers(1, 10**12 - 1), TRAPS, st.sampled_from(["before", "after", "first"]))
def test_the_replay_mark_may_be_anywhere_in_the_envelope(epoch: int, sequence: int, text: str, where: str) -> None:
    """As a JSON boolean or as a string. Members of the data do not count."""
    names = Names(SessionKey("local", "s"), "content", "mix.")
    value, headers = WRITERS["structured"](names, event(json.dumps({"text": text})), f"{epoch:010}", sequence, "", JSON)
    marked = {
        "before": value.replace(b',"sequence":', b',"replayed":true,"sequence":', 1),
        "after": value.replace(b',"data":', b',"replayed":"true","data":', 1),
        "first": b'{"replayed":true,' + value[1:],
    }[where]
    for form in ((marked, [*headers]), earlier_form(marked, headers)):
        assert number_of(*form) == NumberedRecord(epoch, sequence, replayed=True, dead_letter=False)


@pytest.mark.parametrize("sequence", [b"0000000007:000000000009", b"000000000009"])
@pytest.mark.parametrize("prefix", ["ce_", "bridge."])
def test_headers_mark_replayed_records_and_dead_letters(prefix: str, sequence: bytes) -> None:
    """In the formats with numbers in headers."""
    headers = [(f"{prefix}epoch", b"0000000007"), (f"{prefix}sequence", sequence)]
    headers += [("ce_specversion", b"1.0")] if prefix == "ce_" else [("bridge.reason", b"schema")]
    is_dead = prefix == "bridge."
    assert number_of(b"", headers) == NumberedRecord(7, 9, replayed=False, dead_letter=is_dead)
    assert number_of(b"", [*headers, (f"{prefix}replayed", b"true")]) == NumberedRecord(
        7, 9, replayed=True, dead_letter=is_dead
    )


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"{}", []),
        (None, STRUCTURED),
        (b"", STRUCTURED),
        (b"\xff", STRUCTURED),
        (b"[" * 100_000, STRUCTURED),
        (b"[1]", STRUCTURED),
        (b'{"sequence":"1"}', STRUCTURED),
        (b'{"sequence":1,"epoch":2}', STRUCTURED),
        (b'{"sequence":"0","epoch":"1"}', STRUCTURED),
        (b'{"sequence":"-1","epoch":"1"}', STRUCTURED),
        ('{"sequence":"\u0661","epoch":"1"}'.encode(), STRUCTURED),
        (b'{"sequence":"1000000000000","epoch":"1"}', STRUCTURED),
        (b'{"sequence":"' + b"1" * 10_000 + b'","epoch":"1"}', STRUCTURED),
        (b'{"sequence":"1:2","epoch":"2"}', STRUCTURED),
        (b'{"sequence":"1:0","epoch":"1"}', STRUCTURED),
        (b'{"sequence":"1:1:2","epoch":"1"}', STRUCTURED),
        (b'{"sequence":"1:","epoch":"1"}', STRUCTURED),
        (b'{"sequence":":2","epoch":""}', STRUCTURED),
        (b'{"specversion":"2.0","sequence":"1:2","epoch":"1"}', STRUCTURED),
        (b"", [("ce_specversion", b"2.0"), ("ce_epoch", b"1"), ("ce_sequence", b"1")]),
        (b"", [("bridge.epoch", b"1"), ("bridge.sequence", b"x")]),
        (b"", [("bridge.epoch", b"1"), ("bridge.sequence", b"2:1")]),
        (b"", [("bridge.epoch", b"\xff"), ("bridge.sequence", b"\xff:1")]),
        (b"", [("bridge.epoch", None), ("bridge.sequence", b"1")]),
        (b"", [("ce_specversion", b"1.0"), ("bridge.epoch", b"1"), ("bridge.sequence", b"1")]),
    ],
)
def test_a_record_without_a_number_is_foreign(value: bytes | None, headers: list[tuple[str, bytes | None]]) -> None:
    """Damaged, too large, or of another program."""
    assert number_of(value, headers) is None


def test_an_envelope_of_another_writer_is_read() -> None:
    """With blanks, in another order, with the data in the middle."""
    ours = NumberedRecord(2, 3, replayed=False, dead_letter=False)
    for sequence in ("0000000002:000000000003", "000000000003"):
        document = {"data": {"sequence": "5", "epoch": "6"}, "sequence": sequence, "epoch": "0000000002"}
        assert number_of(json.dumps(document, indent=1).encode(), STRUCTURED) == ours
        assert number_of(json.dumps(document, separators=(",", ":")).encode(), STRUCTURED) == ours


def test_a_lifecycle_record_is_read_back() -> None:
    """With and without the optional members, in both forms."""
    writer = LifecycleWriter(SessionKey("local", "s"), "mix.lifecycle")
    lifecycle_event = LifecycleEvent("gap", "evicted", "The server forgot some.", "4", "9", 4)
    record = writer.record(lifecycle_event, 1_700_000_000, 12, 1_700_000_000_123, 1_700_000_099)
    gap = StoredLifecycleEvent(EventSequence(1_700_000_000, 12), "gap", ("4", "9"), 4, 1_700_000_099)
    assert decode(record.value) == decode(earlier_form(record.value, record.headers)[0]) == gap
    unknown = writer.record(LifecycleEvent("reset", "x", "y"), 1_700_000_000, 0, 1, None)
    assert decode(unknown.value) == StoredLifecycleEvent(
        EventSequence(1_700_000_000, 0), "reset", (None, None), None, None
    )


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{}",
        b'{"epoch":"1","sequence":"1","type":"mix.content","data":{}}',
        b'{"epoch":"1","sequence":"1:1","type":"mix.content","data":{}}',
        b'{"epoch":"1","sequence":"2:1","type":"mix.bridge.session.gap","data":{}}',
    ],
)
def test_another_record_is_not_a_lifecycle_record(value: bytes | None) -> None:
    """Nor is an event."""
    assert decode(value) is None
