"""The recent window: the id before the last one, and what a true replay after it begins with; in little memory."""

from __future__ import annotations

import sys
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.stream.event import Event, Oversize
from bridge.core.stream.overlap import DIGEST_BYTES, LONGEST_AFTER, MOST, OverlapWindow, digest, extended

NAMES = ("agent", "tool")


class Passed(NamedTuple):
    """An entry as the window sees it."""

    event: Event | None
    last_event_id: str


def event(data: object, own_id: str | None = "1", name: str = "agent") -> Event:
    return Event(name, str(data), own_id, own_id or "", 0)


def passed(*ids: str) -> list[Passed]:
    """One event for each id, all different."""
    return [Passed(event(at, own_id), own_id) for at, own_id in enumerate(ids)]


def digests(entries: list[Passed]) -> bytes:
    return b"".join(digest(each.event) for each in entries if each.event is not None)


def test_a_position_alone_remembers_no_event() -> None:
    """The id to send is the one to begin with."""
    assert OverlapWindow.starting("7") == OverlapWindow("7", "7", b"", certain=True)
    assert OverlapWindow.starting("7").is_whole


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
def test_a_digest_stands_for_own_id_name_and_data(other: Event) -> None:
    """Whatever differs in them is another event; when it came, and the stream's id, do not count."""
    one = event("a")
    assert len(digest(one)) == DIGEST_BYTES
    assert digest(one) == digest(one._replace(received_ms=9, last_event_id="9"))
    assert digest(one) != digest(other)


def test_a_digest_keeps_its_parts_apart() -> None:
    """What moves from one part to the next makes another event; characters that no stream holds are no trouble."""
    assert digest(Event("ab", "c", None, "", 0)) != digest(Event("a", "bc", None, "", 0))
    assert digest(Event("a", "b", "a", "", 0)) != digest(Event("a", "b", None, "", 0))


def test_the_window_holds_what_follows_the_id_before_the_last() -> None:
    """One event as a rule, wherever a batch ends."""
    entries = passed("1", "2", "3")
    assert extended(OverlapWindow.starting("0"), entries) == OverlapWindow("2", "3", digests(entries[2:]))
    assert extended(OverlapWindow.starting("0"), entries[:1]) == OverlapWindow("0", "1", digests(entries[:1]))
    assert extended(OverlapWindow("0", "1", b"12345678"), entries[1:2]) == OverlapWindow(
        "1", "2", digests(entries[1:2])
    )


def test_events_that_share_the_last_id_are_all_remembered() -> None:
    """Whether they come in one batch or in several."""
    entries = passed("1", "2", "2", "2")
    assert extended(OverlapWindow.starting("0"), entries) == OverlapWindow("1", "2", digests(entries[1:]))
    before = extended(OverlapWindow.starting("0"), entries[:2])
    assert extended(before, entries[2:]) == OverlapWindow("1", "2", digests(entries[1:]))


def test_an_event_under_the_id_the_stream_began_with_keeps_that_id_as_the_one_to_send() -> None:
    """There is no id before it."""
    entries = passed("0", "0")
    assert extended(OverlapWindow.starting("0"), entries) == OverlapWindow("0", "0", digests(entries))


def test_an_id_alone_moves_nothing() -> None:
    """No replay need bring it again, so what it says is not known to be proved."""
    known = OverlapWindow("1", "2", b"12345678")
    assert extended(known, [Passed(None, "3"), Passed(None, "4")]) is known
    assert extended(known, []) is known
    entries = passed("3", "4")
    assert extended(known, [entries[0], Passed(None, "9"), entries[1]]) == OverlapWindow("3", "4", digests(entries[1:]))


@pytest.mark.parametrize("bad", ["", "x" * (LONGEST_AFTER + 1), "a\nb", " a"])
def test_an_id_that_cannot_be_sent_is_never_the_one_to_send(bad: str) -> None:
    """What is behind it is remembered after the last one that can be."""
    entries = passed("1", bad, "3")
    assert extended(OverlapWindow.starting("0"), entries) == OverlapWindow("1", "3", digests(entries[1:]))
    known = extended(OverlapWindow.starting("0"), entries[:2])
    assert known == OverlapWindow("1", bad, digests(entries[1:2]))
    assert extended(known, entries[2:]) == OverlapWindow("1", "3", digests(entries[1:]))


def test_no_more_than_the_first_256_are_remembered() -> None:
    """The window is full then, and stays as it is until the id changes."""
    entries = passed("1", *["2"] * (MOST + 9), "3")
    many = entries[1:-1]
    full = extended(OverlapWindow.starting("1"), many)
    assert full == OverlapWindow("1", "2", digests(many[:MOST]))
    assert not full.is_whole
    assert extended(full, many) == full
    last_free = extended(OverlapWindow.starting("1"), many[: MOST - 1])
    assert last_free.is_whole
    assert extended(last_free, many[MOST - 1 :]) == full
    assert extended(full, entries[-1:]) == OverlapWindow("2", "3", digests(entries[-1:]))


def test_a_full_window_follows_the_last_id_where_none_is_fit_to_be_sent() -> None:
    """The cursor still says where the stream stands."""
    full = extended(OverlapWindow.starting("1"), passed(*["a\nb"] * MOST))
    assert extended(full, passed("a\nc")) == full._replace(cursor="a\nc")


def test_uncertainty_stays() -> None:
    """A stream that held events without ids may do so again."""
    uncertain = OverlapWindow("1", "2", b"12345678", certain=False)
    for entries in (passed("3"), passed("3", "4"), passed("2"), [Passed(None, "7")]):
        assert not extended(uncertain, entries).certain


@given(ids=st.lists(st.sampled_from(["1", "2", "", "x\ny", None]), max_size=30), cuts=st.lists(st.integers(0, 30)))
def test_the_window_is_the_same_however_the_stream_is_cut(ids: list[str | None], cuts: list[int]) -> None:
    """Checkpoints fold what is acknowledged in any portions; None is an id alone."""
    entries = [Passed(None if each is None else event(at, each), each or "9") for at, each in enumerate(ids)]
    entries = [each if each.event is None else Passed(each.event, each.event.last_event_id) for each in entries]
    whole = extended(OverlapWindow.starting("0"), entries)
    known, at = OverlapWindow.starting("0"), 0
    for cut in [*sorted(cuts), len(entries)]:
        known, at = extended(known, entries[at:cut]), max(at, cut)
    assert known == whole


def test_the_window_of_a_session_is_at_most_16_kib() -> None:
    """The longest ids that are kept, of the widest characters, and as many digests as there may be."""
    widest = "\U0001f600"
    known = extended(
        OverlapWindow.starting(widest * LONGEST_AFTER), passed(*["\U0001f601" * LONGEST_AFTER] * (MOST + 1))
    )
    assert known.after == widest * LONGEST_AFTER
    assert len(known.cursor) == LONGEST_AFTER
    assert len(known.digests) == MOST * DIGEST_BYTES
    assert deep_size(known) <= 16 * 1024


def deep_size(known: OverlapWindow) -> int:
    return sys.getsizeof(known) + sum(map(sys.getsizeof, known))
