"""Dead letters are read back, foreign records are recognised, and groups have correct sums."""

from __future__ import annotations

import pytest
from hypothesis import given

from bridge.core.identity import SessionKey
from bridge.core.records.dead_letter import (
    DeadLetterFilter,
    Group,
    Kind,
    NotADeadLetter,
    Number,
    Place,
    dead_letter_of,
    grouped,
    parse_reference,
)
from bridge.core.records.headers import TEXT_BYTES
from bridge.core.stream.event import Oversize
from tests.support.dead_letters import KEY, MS, TEXT, letter_record, read


@given(data=TEXT, name=TEXT, last_event_id=TEXT, session=TEXT)
def test_every_dead_letter_is_read_back(data: str, name: str, last_event_id: str, session: str) -> None:
    """Every member, any characters."""
    key = SessionKey("local", session)
    letter = read(letter_record(data, name, key, last_event_id=last_event_id))
    assert (letter.key, letter.event, letter.last_event_id, letter.data) == (key, name, last_event_id, data.encode())
    assert (letter.number, letter.received_ms, letter.written_ms) == (Number(1_764_000_000, 7), MS, MS + 5)
    assert (letter.reason, letter.error, letter.missing_part) == ("rejected", "refused", None)
    assert str(letter.place) == "3:120"
    assert str(letter.number) == "1764000000:000000000007"
    assert letter.without_data().data == b""


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
        ("bridge.sequence", b"seven", "a header that must be a number is not one"),
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


@pytest.mark.parametrize(
    ("selection", "matches"),
    [
        (DeadLetterFilter(), True),
        (DeadLetterFilter(sessions=("local/5e55",)), True),
        (DeadLetterFilter(sessions=("other/x", "local/*")), True),
        (DeadLetterFilter(sessions=("other/*",)), False),
        (DeadLetterFilter(reason="rejected", event="con*"), True),
        (DeadLetterFilter(reason="schema"), False),
        (DeadLetterFilter(event="tool_*"), False),
        (DeadLetterFilter(since_ms=MS), True),
        (DeadLetterFilter(since_ms=MS + 1), False),
        (DeadLetterFilter(places=frozenset({Place(3, 120)})), True),
        (DeadLetterFilter(places=frozenset({Place(3, 121)})), False),
        (DeadLetterFilter(numbers=frozenset({Number(1_764_000_000, 7)}), places=frozenset({Place(0, 0)})), True),
    ],
)
def test_a_filter_selects_what_meets_every_condition(selection: DeadLetterFilter, matches: bool) -> None:  # noqa: FBT001 - a case
    """Every condition counts; an address or an id selects the same dead letter."""
    assert selection.matches(read(letter_record())) is matches


def test_a_name_with_brackets_matches_itself() -> None:
    """The text of a pattern is also compared literally."""
    assert DeadLetterFilter(event="a[b]").matches(read(letter_record(name="a[b]")))


def test_addresses_and_ids_differ_by_their_digits() -> None:
    """An epoch has ten digits."""
    assert parse_reference("3:1764000000") == Place(3, 1_764_000_000)
    assert parse_reference("1764000000:000000000007") == Number(1_764_000_000, 7)
    assert parse_reference("1764000000:7") == Number(1_764_000_000, 7)
    for wrong in ("", "3", "a:b", "3:-1", "12345678901:1", "\u0663:1"):
        with pytest.raises(ValueError, match="neither"):
            parse_reference(wrong)


def test_groups_have_correct_sums() -> None:
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
