"""Dead letters are read back, and foreign records are recognised."""

from __future__ import annotations

import pytest
from hypothesis import given

from bridge.core.identity import SessionKey
from bridge.core.records.dead_letter import NotADeadLetter, Place, dead_letter_of
from bridge.core.records.numbers import EventSequence
from bridge.core.records.record import TEXT_BYTES
from bridge.core.stream.event import Oversize
from tests.support.dead_letters import MS, TEXT, letter_record, read
from tests.support.earlier_records import earlier_form


@given(data=TEXT, name=TEXT, last_event_id=TEXT, session=TEXT)
def test_every_dead_letter_is_read_back(data: str, name: str, last_event_id: str, session: str) -> None:
    """Every member, any characters."""
    key = SessionKey("local", session)
    letter = read(letter_record(data, name, key, last_event_id=last_event_id))
    assert (letter.key, letter.event, letter.last_event_id, letter.data) == (key, name, last_event_id, data.encode())
    assert (letter.number, letter.received_ms, letter.written_ms) == (EventSequence(1_764_000_000, 7), MS, MS + 5)
    assert (letter.reason, letter.error, letter.missing_part) == ("rejected", "refused", None)
    assert str(letter.place) == "3:120"
    assert str(letter.number) == "1764000000:000000000007"
    assert letter.without_data().data == b""


def test_a_dead_letter_of_an_earlier_version_is_read_back() -> None:
    """Its sequence has no epoch before the number."""
    record = letter_record()
    value, headers = earlier_form(record.value, record.headers)
    assert ("bridge.sequence", b"000000000007") in headers
    assert read(record._replace(value=value, headers=headers)) == read(record)


def test_missing_parts_are_recognised() -> None:
    """By the size, by the event type, by the SHA-256."""
    assert read(letter_record(oversize=Oversize(1000, "ab" * 32))).missing_part == "only 1 of its 1000 bytes were kept"
    assert read(letter_record(name="\u00e9" * TEXT_BYTES)).missing_part == "its event type was too long to keep"
    altered = letter_record()._replace(value=b"[")
    assert "SHA-256" in (read(altered).missing_part or "")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("bridge.server", None, "it has no header bridge.server"),
        ("bridge.sequence", b"seven", "bridge.epoch and bridge.sequence are not the number of an event"),
        ("bridge.epoch", b"1764000001", "bridge.epoch and bridge.sequence are not the number of an event"),
        ("bridge.bytes", b"9" * 5000, "a header that must be a number is not one"),
        ("bridge.received_at", b"yesterday", "a time that is not RFC 3339"),
        ("bridge.received_at", b"2026-01-01T00:00:00", "a time without a zone"),
        ("bridge.session", b"another", "its key is not the session that its headers name"),
    ],
)
def test_a_foreign_record_is_recognised(name: str, value: bytes | None, message: str) -> None:
    """The message is one line without any of its content."""
    record = letter_record()
    headers = [(each, text if each != name else value) for each, text in record.headers if each != name or value]
    with pytest.raises(NotADeadLetter, match=message):
        dead_letter_of(Place(0, 0), 0, record.key, record.value, [(n, t) for n, t in headers if t is not None])
