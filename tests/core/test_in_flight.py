"""The position never passes what Kafka has not acknowledged; splitting, and sending again from memory."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.entries import Announcement, Batch, CheckpointBarrier, Entry, Message, Stage
from bridge.core.identity import Position, SessionKey
from bridge.core.in_flight import InFlight, plan_resend
from bridge.core.records.encoder import Encoder
from bridge.core.records.record import cursor_after
from bridge.core.records.rules import Route, Rules
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow, digest
from tests.support.effort import EXAMPLES

START = Position(100, 0, "0")
KINDS = st.lists(st.lists(st.sampled_from("aaaaabbs"), min_size=1, max_size=6) | st.just(["barrier"]), max_size=12)
FINAL = (Stage.ACKNOWLEDGED, Stage.FAILED, Stage.LOST, Stage.REFUSED)
TOPICS = {"a": "topic a", "b": "topic b"}
RULES = Rules(
    format="raw",
    type_prefix="",
    skip=frozenset("s"),
    unknown="publish",
    invalid="publish",
    max_bytes=1000,
    events_topic=TOPICS["a"],
    dead_letters_topic="dead",
    routes=(Route("b", TOPICS["b"]),),
)
ENCODER = Encoder(RULES, SessionKey("local", "s"))


class Failed(Exception):
    """Stands for the client's error."""


class Reported:
    """A delivery report's message, and the listener that hears of it."""

    def __init__(self, topic: str, stage: Stage = Stage.FAILED) -> None:
        self._topic = topic
        self._stage = stage
        self.heard: list[Entry] = []

    def topic(self) -> str:
        return self._topic

    def acknowledged(self, entry: Entry, /) -> None:
        self.heard.append(entry)

    def failed(self, entry: Entry, error: object, message: Message, /) -> Stage:
        del entry, error, message
        return self._stage


def event(at: int, name: str = "a", *, has_id: bool = True) -> Event:
    return Event(name, f'"{at}"', str(at) if has_id else None, str(at), 0)


def batch(events: list[Event], start: Position = START) -> Batch:
    encoded = ENCODER.encode_batch(events, start.epoch, start.sequence, start.last_event_id)
    return Batch(events, encoded, start)


def filled(kinds: list[list[str]]) -> InFlight:
    """Entries numbered as a publisher numbers them: batches, some with skipped events, and barriers of new epochs."""
    in_flight = InFlight(START, OverlapWindow.starting("0"))
    position, at = START, 0
    for kind in kinds:
        if kind == ["barrier"]:
            position = Position(position.epoch + 1, 0, str(at))
            in_flight.submit(CheckpointBarrier(position, OverlapWindow.starting(str(at))))
        else:
            one = batch([event(at + offset, name) for offset, name in enumerate(kind, 1)], position)
            at += len(kind)
            position = one.position
            in_flight.submit(one)
    return in_flight


@given(kinds=KINDS, seed=st.integers())
@settings(max_examples=EXAMPLES, deadline=None)
def test_the_position_never_passes_what_is_not_acknowledged(kinds: list[list[str]], seed: int) -> None:
    """For every order of acknowledgements; after the last one, everything is passed and freed."""
    in_flight = filled(kinds)
    everything = list(in_flight.entries)
    waiting = [entry for entry in everything if entry.stage is not Stage.ACKNOWLEDGED]
    random.Random(seed).shuffle(waiting)
    freed = in_flight.advance()
    while waiting:
        waiting.pop().stage = Stage.ACKNOWLEDGED
        freed += in_flight.advance()
        passed = everything[: len(everything) - len(in_flight.entries)]
        assert all(entry.stage is Stage.ACKNOWLEDGED for entry in passed)
        assert not in_flight.entries or in_flight.entries[0].stage is not Stage.ACKNOWLEDGED
        assert in_flight.acknowledged == (passed[-1].position if passed else START)
        assert freed == sum(entry.size for entry in passed)
    assert not in_flight.entries
    assert in_flight.length == in_flight.passed_length


def test_no_entry_means_the_position_after_the_last_one() -> None:
    """Another thread that looks during an advance must not take a session for settled too early."""
    in_flight = InFlight(START, OverlapWindow.starting("0"))

    class Looking(CheckpointBarrier):
        @property
        def position(self) -> Position:
            assert not in_flight.is_empty, "empty before its position is known"
            return super().position

    entry = Looking(Position(100, 1, "1"), OverlapWindow.starting("1"))
    entry.stage = Stage.ACKNOWLEDGED
    in_flight.submit(entry)
    in_flight.advance()
    assert in_flight.acknowledged == Position(100, 1, "1")


def test_before_the_first_barrier_there_is_no_position() -> None:
    """A session without a checkpoint has none until its first barrier is acknowledged."""
    in_flight = InFlight(None, OverlapWindow.starting(""))
    barrier = CheckpointBarrier(Position(7, 0, ""), OverlapWindow.starting(""))
    in_flight.submit(barrier)
    in_flight.advance()
    assert in_flight.acknowledged is None
    barrier.stage = Stage.ACKNOWLEDGED
    in_flight.advance()
    assert in_flight.acknowledged == Position(7, 0, "")


# Reports


def test_a_batch_is_acknowledged_when_every_record_is() -> None:
    """The success of the last record proves nothing about the others."""
    one, listener = batch([event(1), event(2), event(3)]), Reported(TOPICS["a"])
    one.note_produced(3, listener)
    one.report(None, listener)
    one.report(None, listener)
    assert listener.heard == []
    one.report(None, listener)
    assert one.stage is Stage.ACKNOWLEDGED
    assert listener.heard == [one]


def test_one_failure_fails_the_batch() -> None:
    """It is sent again whole; while reports are to come, it is not."""
    one, listener = batch([event(1), event(2)]), Reported(TOPICS["a"])
    one.note_produced(2, listener)
    one.report(Failed(), listener)
    assert one.is_unreported
    one.report(None, listener)
    assert not one.is_unreported
    assert one.stage is Stage.FAILED
    assert listener.heard == []


@pytest.mark.parametrize(
    ("names", "stage", "reports", "has_new_epoch"),
    [
        # A record behind a failed one of its topic: under its old number, a consumer would drop the failed one.
        ("aa", Stage.FAILED, [("a", False), ("a", True)], True),
        ("aa", Stage.REFUSED, [("a", False), ("a", True)], True),
        # A gap-less producer writes nothing behind a refused record: those in Kafka are a beginning of the batch.
        ("aa", Stage.REFUSED, [("a", True), ("a", False)], False),
        # Consumers compare numbers per topic and partition.
        ("ab", Stage.FAILED, [("a", False), ("b", True)], False),
    ],
)
def test_a_failure_in_a_batch_needs_a_new_epoch_if_it_may_be_overtaken(
    names: str, stage: Stage, reports: list[tuple[str, bool]], *, has_new_epoch: bool
) -> None:
    """Sent again under its old number, a record that consumers have passed would be dropped as a repeat."""
    one = batch([event(at, name) for at, name in enumerate(names, 1)])
    one.note_produced(len(names), Reported("", stage))
    for topic, is_written in reports:
        one.report(None if is_written else Failed(), Reported(TOPICS[topic]))
    assert plan_resend([one]) is has_new_epoch


def test_reports_may_come_before_it_is_known_how_many_there_are() -> None:
    """The client took only a part; the polling thread was quicker than the worker."""
    one, listener = batch([event(1), event(2), event(3)]), Reported(TOPICS["a"])
    one.note_produced(3, listener)
    one.report(None, listener)
    tail = one.split(1)
    one.note_unproduced(1)
    assert listener.heard == []
    one.note_reports()
    assert one.stage is Stage.ACKNOWLEDGED
    assert tail.stage is Stage.WAITING


# Splitting


@given(kinds=st.lists(st.sampled_from("aabs"), min_size=1, max_size=12), at=st.integers(1, 12), ids=st.booleans())
def test_a_split_keeps_every_event_number_and_id(kinds: list[str], at: int, *, ids: bool) -> None:
    """Both parts are what the encoder makes of their events at their places."""
    events = [event(number, name, has_id=ids or number % 3 == 0) for number, name in enumerate(kinds, 1)]
    whole, one = batch(events), batch(events)
    if not 0 < at < one.count:
        return
    tail = one.split(at)
    assert (one.count, tail.count) == (at, whole.count - at)
    assert [*one.events, *tail.events] == events
    assert [*(one.records or ()), *(tail.records or ())] == whole.records
    assert tail.position == whole.position
    assert tail.start == one.position
    assert one.last_event_id == cursor_after("0", one.events)
    assert one.size + tail.size == whole.size
    for part in (one, tail):
        again = batch(list(part.events), part.start)
        assert (part.records, part.counts, part.position) == (again.records, again.counts, again.position)
    assert [*tail.backwards(), *one.backwards()] == list(whole.backwards())


def test_the_window_is_that_of_the_newest_ids() -> None:
    """Events that share the newest id are all remembered, over the borders of batches."""
    in_flight = InFlight(START, OverlapWindow.starting("0"))
    events = [event(1), event(2), event(3, has_id=False), event(4, "s", has_id=False)]
    first = batch(events[:2])
    in_flight.submit(first, batch(events[2:], first.position))
    assert in_flight.submitted == OverlapWindow("1", "2", b"".join(map(digest, events[1:])))


# Sending again


@st.composite
def broken(draw: st.DrawFn) -> InFlight:
    """Entries without a report to come: behind a barrier nothing was sent."""
    in_flight = filled(draw(KINDS))
    has_barrier = False
    for entry in in_flight.entries:
        has_barrier = has_barrier or entry.is_barrier
        if entry.is_barrier:
            is_oldest = entry is in_flight.entries[0]
            entry.stage = draw(st.sampled_from([Stage.WAITING, Stage.FAILED])) if is_oldest else Stage.WAITING
        elif isinstance(entry, Batch) and entry.count:
            entry.stage = Stage.WAITING if has_barrier else draw(st.sampled_from(FINAL))
    in_flight.advance()
    return in_flight


def batches(in_flight: InFlight) -> list[Batch]:
    return [entry for entry in in_flight.entries if isinstance(entry, Batch) and entry.count]


@given(in_flight=broken())
@settings(max_examples=5 * EXAMPLES, deadline=None)
def test_a_new_epoch_is_planned_when_a_batch_overtook_another(in_flight: InFlight) -> None:
    """In the same topic: a batch that is, or may be, in Kafka, behind one that is not."""
    missing = (Stage.FAILED, Stage.REFUSED, Stage.WAITING)
    found = batches(in_flight)
    overtaken = any(
        early.counts.keys() & late.counts.keys()
        and (
            (early.stage in missing and late.stage in (Stage.ACKNOWLEDGED, Stage.LOST))
            or (early.stage is Stage.LOST and late.stage is Stage.ACKNOWLEDGED)
        )
        for at, early in enumerate(found)
        for late in found[at + 1 :]
    )
    assert plan_resend(in_flight.entries) is overtaken


@given(in_flight=broken(), is_new=st.booleans())
@settings(max_examples=5 * EXAMPLES, deadline=None)
def test_nothing_is_lost_and_no_number_means_two_events(in_flight: InFlight, *, is_new: bool) -> None:
    """The same events in the same order; a number that was sent stays with its batch, or is never used again."""
    before = [(entry, entry.position) for entry in in_flight.entries]
    acknowledged = [one for one in batches(in_flight) if one.stage is Stage.ACKNOWLEDGED]
    sent = {position for one, position in before if isinstance(one, Batch)}
    in_flight.rewind(50, new_epoch_needed=is_new)
    after = list(in_flight.entries)
    assert after[2 if is_new else 0 :] == [entry for entry, _ in before]
    for one in batches(in_flight):
        assert one.stage is (Stage.ACKNOWLEDGED if one in acknowledged and not is_new else Stage.WAITING)
    if is_new:
        announced, barrier = after[:2]
        assert isinstance(announced, Announcement)
        assert isinstance(barrier, CheckpointBarrier)
        assert (announced.position, announced.new_epoch) == (in_flight.acknowledged, barrier.epoch)
        assert (barrier.overlap_window, barrier.begins_epoch) == (in_flight.overlap_window, True)
        assert not sent & {one.position for one in batches(in_flight)}
    else:
        assert [(entry, entry.position) for entry in after] == before
    numbers = [(one.epoch, one.sequence) for one in batches(in_flight)]
    assert numbers == sorted(set(numbers))


@given(in_flight=broken(), seconds=st.lists(st.integers(0, 300), min_size=1, max_size=5))
@settings(max_examples=2 * EXAMPLES, deadline=None)
def test_epochs_rise_through_every_rewind_and_numbers_begin_at_one(in_flight: InFlight, seconds: list[int]) -> None:
    """The barrier at the head resumes where all is acknowledged, above the old epoch; later ones rise above it."""
    for now in seconds:
        acknowledged = in_flight.acknowledged
        assert acknowledged is not None
        in_flight.rewind(now, new_epoch_needed=True)
        announced, head = in_flight.entries[0], in_flight.entries[1]
        assert announced.position == acknowledged
        assert head.position == Position(max(acknowledged.epoch + 1, now), 0, acknowledged.last_event_id)
        epochs = [entry.epoch for entry in in_flight.entries if not isinstance(entry, Announcement)]
        assert epochs == sorted(epochs)
        for epoch, found in by_epoch(in_flight):
            assert [one.start.sequence for one in found] == [0, *(one.sequence for one in found[:-1])], epoch
        announced.stage = head.stage = Stage.ACKNOWLEDGED
        in_flight.advance()


def by_epoch(in_flight: InFlight) -> Iterator[tuple[int, list[Batch]]]:
    found: dict[int, list[Batch]] = {}
    for one in batches(in_flight):
        found.setdefault(one.epoch, []).append(one)
    return iter(found.items())


def test_an_end_keeps_its_place_behind_the_renumbered() -> None:
    """The session's last checkpoint names its last record by its new number."""
    in_flight = InFlight(START, OverlapWindow.starting("0"))
    one = batch([event(1)])
    one.stage = Stage.REFUSED
    end = CheckpointBarrier(Position(100, 1, "1"), OverlapWindow.starting("1"), "ended")
    in_flight.submit(one, end)
    in_flight.rewind(500, new_epoch_needed=True)
    assert (end.position, end.state) == (Position(500, 1, "1"), "ended")
