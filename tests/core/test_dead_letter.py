"""Dead letters read back: what was written is understood, what is not ours is told apart, groups add up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.identity import SessionKey
from bridge.core.records.dead_letter import (
    DeadLetter,
    Group,
    Kind,
    NotADeadLetter,
    Number,
    Place,
    Wanted,
    dead_letter_of,
    grouped,
    place_or_number,
)
from bridge.core.records.headers import TEXT_BYTES
from bridge.core.records.rules import Encoder, Record
from bridge.core.stream.event import Event, Oversize
from tests.core.test_records import RULES

KEY = SessionKey("local", "5e55")
MS = 1_764_000_000_123
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def letter_record(data: str = "{", name: str = "content", key: SessionKey = KEY, **more: Any) -> Record:
    """A dead letter as the bridge writes it."""
    event = Event(name, data, "41", "41", MS)._replace(**more)
    return Encoder(RULES, key).rejected(event, 1_764_000_000, 7, "refused")


def read(record: Record) -> DeadLetter:
    return dead_letter_of(Place(3, 120), MS + 5, record.key, record.value, record.headers)


@given(data=TEXT, name=TEXT, last_event_id=TEXT, session=TEXT)
def test_what_the_bridge_wrote_is_read_back(data: str, name: str, last_event_id: str, session: str) -> None:
    """Every member, any characters."""
    key = SessionKey("local", session)
    letter = read(letter_record(data, name, key, last_event_id=last_event_id))
    assert (letter.key, letter.event, letter.last_event_id, letter.data) == (key, name, last_event_id, data.encode())
    assert (letter.number, letter.received_ms, letter.written_ms) == (Number(1_764_000_000, 7), MS, MS + 5)
    assert (letter.reason, letter.error, letter.lack) == ("rejected", "refused", None)
    assert str(letter.place) == "3:120"
    assert str(letter.number) == "1764000000:000000000007"
    assert letter.without_data().data == b""


def test_what_was_cut_is_known_to_be_cut() -> None:
    """By the bytes that are there, by the event type, by the digest."""
    assert read(letter_record(oversize=Oversize(1000, "ab" * 32))).lack == "only 1 of its 1000 bytes were kept"
    assert read(letter_record(name="\u00e9" * TEXT_BYTES)).lack == "its event type was too long to be kept"
    altered = letter_record()._replace(value=b"[")
    assert "SHA-256" in (read(altered).lack or "")


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("bridge.server", None, "it has no header bridge.server"),
        ("bridge.sequence", b"seven", "a header that should be a number is none"),
        ("bridge.bytes", b"9" * 5000, "a header that should be a number is none"),
        ("bridge.received_at", b"yesterday", "a time that is not RFC 3339"),
        ("bridge.received_at", b"2026-01-01T00:00:00", "a time without a zone"),
        ("bridge.session", b"another", "its key is not the session that its headers name"),
    ],
)
def test_a_record_that_is_not_ours_is_told_apart(name: str, value: bytes | None, complaint: str) -> None:
    """In one line that holds nothing of it."""
    record = letter_record()
    headers = [(each, text if each != name else value) for each, text in record.headers if each != name or value]
    with pytest.raises(NotADeadLetter, match=complaint):
        dead_letter_of(Place(0, 0), 0, record.key, record.value, [(n, t) for n, t in headers if t is not None])


@pytest.mark.parametrize(
    ("wanted", "is_taken"),
    [
        (Wanted(), True),
        (Wanted(sessions=("local/5e55",)), True),
        (Wanted(sessions=("other/x", "local/*")), True),
        (Wanted(sessions=("other/*",)), False),
        (Wanted(reason="rejected", event="con*"), True),
        (Wanted(reason="schema"), False),
        (Wanted(event="tool_*"), False),
        (Wanted(since_ms=MS), True),
        (Wanted(since_ms=MS + 1), False),
        (Wanted(places=frozenset({Place(3, 120)})), True),
        (Wanted(places=frozenset({Place(3, 121)})), False),
        (Wanted(numbers=frozenset({Number(1_764_000_000, 7)}), places=frozenset({Place(0, 0)})), True),
    ],
)
def test_only_what_is_asked_for_is_taken(wanted: Wanted, is_taken: bool) -> None:  # noqa: FBT001 - a case
    """Every condition counts; addresses and ids name one and the same thing."""
    assert wanted.takes(read(letter_record())) is is_taken


def test_a_name_with_brackets_is_itself() -> None:
    """What is no pattern by intention is compared as it stands, too."""
    assert Wanted(event="a[b]").takes(read(letter_record(name="a[b]")))


def test_addresses_and_ids_are_told_apart_by_their_digits() -> None:
    """An epoch has ten."""
    assert place_or_number("3:1764000000") == Place(3, 1_764_000_000)
    assert place_or_number("1764000000:000000000007") == Number(1_764_000_000, 7)
    assert place_or_number("1764000000:7") == Number(1_764_000_000, 7)
    for wrong in ("", "3", "a:b", "3:-1", "12345678901:1", "\u0663:1"):
        with pytest.raises(ValueError, match="neither"):
            place_or_number(wrong)


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
