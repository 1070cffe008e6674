"""The overlap window: the id before the last one, and the known events after it; in little memory."""

from __future__ import annotations

import sys
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.stream.event import Event, Oversize
from bridge.core.stream.overlap import DIGEST_BYTES, LONGEST_AFTER, MOST, OverlapWindow, digest, extended

NAMES = ("agent", "tool")


class Entry(NamedTuple):
    """The part of an entry that the window reads."""

    event: Event | None
    last_event_id: str


def event(data: object, own_id: str | None = "1", name: str = "agent") -> Event:
    return Event(name, str(data), own_id, own_id or "", 0)


def numbered(*ids: str) -> list[Entry]:
    """One event for each id, all different."""
    return [Entry(event(at, own_id), own_id) for at, own_id in enumerate(ids)]


def digests(entries: list[Entry]) -> bytes:
    return b"".join(digest(each.event) for each in entries if each.event is not None)


def test_a_position_alone_remembers_no_event() -> None:
    """The id to send is the given one."""
    assert OverlapWindow.starting("7") == OverlapWindow("7", "7", b"", certain=True)
    assert OverlapWindow.starting("7").is_complete


@pytest.mark.parametrize(
    "other",
    [
        event("a", "2"),
        event("a", None),
        event("a", ""),
        event("b"),
        event("a", name="tool"),
        event("a")._replace(oversize=Oversize(9, "00ff")),
    ],
)
def test_a_digest_covers_own_id_name_and_data(other: Event) -> None:
    """Any difference in them makes another event; the time and the stream's id do not count."""
    one = event("a")
    assert len(digest(one)) == DIGEST_BYTES
    assert digest(one) == digest(one._replace(received_ms=9, last_event_id="9"))
    assert digest(one) != digest(other)


def test_a_digest_keeps_its_parts_apart() -> None:
    """A character that moves from one part to the next makes another event."""
    assert digest(Event("ab", "c", None, "", 0)) != digest(Event("a", "bc", None, "", 0))
    assert digest(Event("a", "b", "a", "", 0)) != digest(Event("a", "b", None, "", 0))


def test_the_window_holds_the_events_after_the_id_before_the_last() -> None:
    """Usually one event, wherever a batch ends."""
    entries = numbered("1", "2", "3")
    assert extended(OverlapWindow.starting("0"), entries) == OverlapWindow("2", "3", digests(entries[2:]))
    assert extended(OverlapWindow.starting("0"), entries[:1]) == OverlapWindow("0", "1", digests(entries[:1]))
    assert extended(OverlapWindow("0", "1", b"12345678"), entries[1:2]) == OverlapWindow(
        "1", "2", digests(entries[1:2])
    )


def test_events_that_share_the_last_id_are_all_remembered() -> None:
    """In one batch or in several."""
    entries = numbered("1", "2", "2", "2")
    assert extended(OverlapWindow.starting("0"), entries) == OverlapWindow("1", "2", digests(entries[1:]))
    before = extended(OverlapWindow.starting("0"), entries[:2])
    assert extended(before, entries[2:]) == OverlapWindow("1", "2", digests(entries[1:]))


def test_an_event_under_the_id_the_stream_began_with_keeps_that_id_as_the_one_to_send() -> None:
    """There is no id before it."""
    entries = numbered("0", "0")
    assert extended(OverlapWindow.starting("0"), entries) == OverlapWindow("0", "0", digests(entries))


def test_an_id_only_block_does_not_change_the_window() -> None:
    """A replay need not repeat it, so it proves nothing."""
    known = OverlapWindow("1", "2", b"12345678")
    assert extended(known, [Entry(None, "3"), Entry(None, "4")]) is known
    assert extended(known, []) is known
    entries = numbered("3", "4")
    assert extended(known, [entries[0], Entry(None, "9"), entries[1]]) == OverlapWindow("3", "4", digests(entries[1:]))


@pytest.mark.parametrize("bad", ["", "x" * (LONGEST_AFTER + 1), "a\nb", " a"])
def test_an_id_that_cannot_be_sent_is_never_the_one_to_send(bad: str) -> None:
    """The events after it are remembered after the last sendable id."""
    entries = numbered("1", bad, "3")
    assert extended(OverlapWindow.starting("0"), entries) == OverlapWindow("1", "3", digests(entries[1:]))
    known = extended(OverlapWindow.starting("0"), entries[:2])
    assert known == OverlapWindow("1", bad, digests(entries[1:2]))
    assert extended(known, entries[2:]) == OverlapWindow("1", "3", digests(entries[1:]))


def test_no_more_than_the_first_256_are_remembered() -> None:
    """The window is full then, and does not change until the id changes."""
    entries = numbered("1", *["2"] * (MOST + 9), "3")
    many = entries[1:-1]
    full = extended(OverlapWindow.starting("1"), many)
    assert full == OverlapWindow("1", "2", digests(many[:MOST]))
    assert not full.is_complete
    assert extended(full, many) == full
    last_free = extended(OverlapWindow.starting("1"), many[: MOST - 1])
    assert last_free.is_complete
    assert extended(last_free, many[MOST - 1 :]) == full
    assert extended(full, entries[-1:]) == OverlapWindow("2", "3", digests(entries[-1:]))


def test_the_cursor_of_a_full_window_moves_even_if_no_id_is_sendable() -> None:
    """The cursor is always the newest id."""
    full = extended(OverlapWindow.starting("1"), numbered(*["a\nb"] * MOST))
    assert extended(full, numbered("a\nc")) == full._replace(cursor="a\nc")


def test_an_uncertain_window_stays_uncertain() -> None:
    """A stream that had events without ids may have more of them."""
    uncertain = OverlapWindow("1", "2", b"12345678", certain=False)
    for entries in (numbered("3"), numbered("3", "4"), numbered("2"), [Entry(None, "7")]):
        assert not extended(uncertain, entries).certain


@given(ids=st.lists(st.sampled_from(["1", "2", "", "x\ny", None]), max_size=30), cuts=st.lists(st.integers(0, 30)))
def test_the_window_does_not_depend_on_batch_boundaries(ids: list[str | None], cuts: list[int]) -> None:
    """Checkpoints fold acknowledged events in any portions; None is an id-only block."""
    entries = [Entry(None if each is None else event(at, each), each or "9") for at, each in enumerate(ids)]
    entries = [each if each.event is None else Entry(each.event, each.event.last_event_id) for each in entries]
    whole = extended(OverlapWindow.starting("0"), entries)
    known, at = OverlapWindow.starting("0"), 0
    for cut in [*sorted(cuts), len(entries)]:
        known, at = extended(known, entries[at:cut]), max(at, cut)
    assert known == whole


def test_the_window_of_a_session_is_at_most_16_kib() -> None:
    """With the longest ids of the widest characters, and the most digests."""
    widest = "\U0001f600"
    known = extended(
        OverlapWindow.starting(widest * LONGEST_AFTER), numbered(*["\U0001f601" * LONGEST_AFTER] * (MOST + 1))
    )
    assert known.after == widest * LONGEST_AFTER
    assert len(known.cursor) == LONGEST_AFTER
    assert len(known.digests) == MOST * DIGEST_BYTES
    assert deep_size(known) <= 16 * 1024


def deep_size(known: OverlapWindow) -> int:
    return sys.getsizeof(known) + sum(map(sys.getsizeof, known))
