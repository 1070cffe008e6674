"""The watermark: never past what Kafka has not acknowledged; and the plans for sending again from memory."""

from __future__ import annotations

import random
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.identity import Position
from bridge.core.in_flight import Announcement, CheckpointBarrier, Entry, Resend, Skip, Stage, Watermark, plan_resend
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow
from tests.support.effort import EXAMPLES

START = Position(100, 0, "0")
KINDS = st.lists(st.sampled_from("eeeeesm"), max_size=40)
FINAL = (Stage.ACKNOWLEDGED, Stage.FAILED, Stage.LOST, Stage.REFUSED)
UNSEEN = (Stage.FAILED, Stage.REFUSED)
TOPICS = ("a", "b")


def event(at: int) -> Event:
    return Event("agent", "{}", str(at), str(at), 0)


def filled(kinds: list[str]) -> Watermark:
    """A window numbered as an outbox numbers it: events, skipped ones, and marks of new epochs."""
    watermark = Watermark(START, OverlapWindow.starting("0"))
    epoch, sequence = START.epoch, 0
    for at, kind in enumerate(kinds, 1):
        if kind == "m":
            epoch, sequence = epoch + 1, 0
            watermark.submit(CheckpointBarrier(Position(epoch, 0, str(at)), OverlapWindow.starting(str(at))))
        elif kind == "s":
            watermark.submit(Skip(event(at), epoch, sequence, str(at)))
        else:
            sequence += 1
            watermark.submit(Entry(event(at), epoch, sequence, str(at), Stage.IN_FLIGHT, TOPICS[at % 2], at))
    return watermark


@given(kinds=KINDS, seed=st.integers())
@settings(max_examples=EXAMPLES, deadline=None)
def test_the_position_never_passes_what_is_not_acknowledged(kinds: list[str], seed: int) -> None:
    """In whatever order acknowledgements come; and when all have come, everything is passed and freed."""
    watermark = filled(kinds)
    everything = list(watermark.entries)
    waiting = [entry for entry in everything if entry.stage is not Stage.ACKNOWLEDGED]
    random.Random(seed).shuffle(waiting)
    freed = watermark.advance()
    while waiting:
        waiting.pop().stage = Stage.ACKNOWLEDGED
        freed += watermark.advance()
        passed = everything[: len(everything) - len(watermark)]
        assert all(entry.stage is Stage.ACKNOWLEDGED for entry in passed)
        assert not watermark.entries or watermark.entries[0].stage is not Stage.ACKNOWLEDGED
        assert watermark.committable == (passed[-1].position if passed else START)
        assert freed == sum(entry.size for entry in passed)
    assert not watermark.entries


def test_who_finds_no_entry_finds_the_position_after_the_last() -> None:
    """Another thread that looks in the middle of an advance must not take a session for settled too early."""
    watermark = Watermark(START, OverlapWindow.starting("0"))

    class Looking(Entry):
        __slots__ = ()

        @property
        def position(self) -> Position:
            assert not watermark.is_empty, "said to be empty before its position is known"
            return super().position

    entry = Looking(event(1), 100, 1, "1", Stage.ACKNOWLEDGED)
    watermark.submit(entry)
    watermark.advance()
    assert watermark.committable == Position(100, 1, "1")


def test_before_the_first_mark_there_is_nothing_to_say() -> None:
    """A session without a checkpoint has no position until its first mark is acknowledged."""
    watermark = Watermark(None, OverlapWindow.starting(""))
    mark = CheckpointBarrier(Position(7, 0, ""), OverlapWindow.starting(""))
    watermark.submit(mark)
    watermark.advance()
    assert watermark.committable is None
    mark.stage = Stage.ACKNOWLEDGED
    watermark.advance()
    assert watermark.committable == Position(7, 0, "")


# Sending again


@st.composite
def broken(draw: st.DrawFn) -> Watermark:
    """A window with nothing in flight, as it can stand: behind a mark nothing was sent, the head is not yet in."""
    watermark = filled(draw(KINDS))
    barrier = False
    for entry in watermark.entries:
        barrier = barrier or entry.is_barrier
        if entry.is_barrier:
            entry.stage = (
                draw(st.sampled_from([Stage.WAITING, Stage.FAILED])) if entry is watermark.entries[0] else Stage.WAITING
            )
        elif entry.is_numbered:
            entry.stage = Stage.WAITING if barrier else draw(st.sampled_from(FINAL))
    watermark.advance()
    return watermark


@given(watermark=broken())
@settings(max_examples=5 * EXAMPLES, deadline=None)
def test_the_plan_says_what_the_stages_say(watermark: Watermark) -> None:
    """Everything up to the last refused one goes alone; a new epoch when one is refused or overtaken in its topic."""
    numbered = [entry for entry in watermark.entries if entry.is_numbered]
    refused = [at for at, entry in enumerate(numbered, 1) if entry.stage is Stage.REFUSED]
    overtaken = any(
        early.topic == late.topic
        and (
            (early.stage in (*UNSEEN, Stage.WAITING) and late.stage in (Stage.ACKNOWLEDGED, Stage.LOST))
            or (early.stage is Stage.LOST and late.stage is Stage.ACKNOWLEDGED)
        )
        for at, early in enumerate(numbered)
        for late in numbered[at:]
    )
    assert plan_resend(watermark.entries) == Resend(bool(refused) or overtaken, max(refused, default=0))


@given(watermark=broken())
@settings(max_examples=5 * EXAMPLES, deadline=None)
def test_nothing_is_lost_and_no_number_means_two_events(watermark: Watermark) -> None:
    """The same events in the same order; a number that was sent stays with its event, or is never used again."""
    before = [(entry, entry.event, entry.epoch, entry.sequence) for entry in watermark.entries]
    sent = {(entry.epoch, entry.sequence): entry for entry in watermark.entries if was_sent(entry)}
    acknowledged = {entry for entry, *_ in before if entry.stage is Stage.ACKNOWLEDGED and entry.is_numbered}
    plan = watermark.rewind(50)
    after = list(watermark.entries)
    assert [entry for entry in after if entry in {one for one, *_ in before}] == [one for one, *_ in before]
    assert not [entry for entry in after if entry.stage in (*UNSEEN, Stage.LOST)]
    for entry in after:
        if entry.is_numbered:
            assert sent.get((entry.epoch, entry.sequence), entry) is entry
            assert entry.stage is (
                Stage.ACKNOWLEDGED if entry in acknowledged and not plan.new_epoch else Stage.WAITING
            )
    if plan.new_epoch:
        announced, mark = after[:2]
        assert isinstance(announced, Announcement)
        assert isinstance(mark, CheckpointBarrier)
        assert (announced.position, announced.new_epoch) == (watermark.committable, mark.epoch)
        assert (mark.overlap_window, mark.begins_epoch) == (watermark.overlap_window, True)
        assert len(after) == len(before) + 2
    else:
        assert [(entry, entry.event, entry.epoch, entry.sequence) for entry in after] == before
    assert list(positions(watermark)) == sorted(set(positions(watermark)))


@given(watermark=broken(), seconds=st.lists(st.integers(0, 300), min_size=1, max_size=5))
@settings(max_examples=2 * EXAMPLES, deadline=None)
def test_epochs_rise_through_every_rewind_and_numbers_begin_at_one(watermark: Watermark, seconds: list[int]) -> None:
    """The mark at the head resumes where all is acknowledged, above the old epoch; marks behind it rise above it."""
    committable = watermark.committable
    assert committable is not None
    for now in seconds:
        for entry in watermark.entries:
            if entry.is_barrier:
                break
            if entry.is_numbered:
                entry.stage = Stage.REFUSED
        before = watermark.entries[0] if watermark.entries else None
        if not watermark.rewind(now).new_epoch:
            return
        announced, head = watermark.entries[0], watermark.entries[1]
        assert before is not announced
        assert announced.position == committable
        assert head.position == Position(max(committable.epoch + 1, now), 0, committable.last_event_id)
        numbers: dict[int, list[int]] = {}
        epochs = [entry.epoch for entry in watermark.entries if not isinstance(entry, Announcement)]
        assert epochs == sorted(epochs)
        for entry in watermark.entries:
            if entry.is_numbered:
                numbers.setdefault(entry.epoch, []).append(entry.sequence)
        assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())
        announced.stage = head.stage = Stage.ACKNOWLEDGED
        watermark.advance()
        committable = watermark.committable
        assert committable is not None


def was_sent(entry: Entry) -> bool:
    """Whether its record may stand in Kafka."""
    return entry.is_numbered and entry.stage in (Stage.ACKNOWLEDGED, Stage.LOST)


def positions(watermark: Watermark) -> Iterator[tuple[int, int]]:
    return ((entry.epoch, entry.sequence) for entry in watermark.entries if entry.is_numbered)


def test_an_end_keeps_its_place_behind_the_renumbered() -> None:
    """The session's last checkpoint names its last record by its new number."""
    watermark = Watermark(START, OverlapWindow.starting("0"))
    watermark.submit(Entry(event(1), 100, 1, "1", Stage.REFUSED, "a", 1))
    end = CheckpointBarrier(Position(100, 1, "1"), OverlapWindow.starting("1"), "ended")
    watermark.submit(end)
    watermark.rewind(500)
    assert (end.position, end.state) == (Position(500, 1, "1"), "ended")
