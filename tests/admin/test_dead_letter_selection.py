"""Selecting and grouping dead letters."""

from __future__ import annotations

import pytest

from bridge.admin.dead_letters.topic import DeadLetterFilter, Group, Kind, grouped, parse_reference
from bridge.core.identity import SessionKey
from bridge.core.records.dead_letter import Place
from bridge.core.records.numbers import EventSequence
from tests.support.dead_letters import KEY, MS, letter_record, read


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
        (DeadLetterFilter(numbers=frozenset({EventSequence(1_764_000_000, 7)}), places=frozenset({Place(0, 0)})), True),
    ],
)
def test_a_dead_letter_must_meet_all_conditions(selection: DeadLetterFilter, matches: bool) -> None:  # noqa: FBT001 - a case
    """An address or an id is enough to name one."""
    assert selection.matches(read(letter_record())) is matches


def test_an_event_type_with_brackets_selects_itself() -> None:
    """A text is compared literally, then as a pattern."""
    assert DeadLetterFilter(event="a[b]").matches(read(letter_record(name="a[b]")))


def test_an_id_has_ten_digits_before_the_colon_and_an_address_fewer() -> None:
    """Other texts are refused."""
    assert parse_reference("3:1764000000") == Place(3, 1_764_000_000)
    assert parse_reference("1764000000:000000000007") == EventSequence(1_764_000_000, 7)
    assert parse_reference("1764000000:7") == EventSequence(1_764_000_000, 7)
    for wrong in ("", "3", "a:b", "3:-1", "12345678901:1", "\u0663:1"):
        with pytest.raises(ValueError, match="neither"):
            parse_reference(wrong)


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
