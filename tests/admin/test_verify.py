"""The verdicts of `verify`: compared with a naive count of small random logs, case by case, and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.admin.verify.accounts import Ledger, Place, SessionAccount
from bridge.admin.verify.findings import EpochVerdict, Finding, Missing, SessionVerdict, judge, worst
from bridge.admin.verify.number_set import NumberSet, size_of
from bridge.admin.verify.report import _complete
from bridge.core.identity import partition_of
from bridge.core.records.lifecycle import StoredLifecycleEvent
from bridge.core.records.numbers import EventSequence, NumberedRecord
from tests.support.effort import EXAMPLES

KEY = b"local/s"
EVENTS, DEAD = Place("e", 0), Place("d", 0)
TOPICS = {"e": 1, "d": 1}


class One(NamedTuple):
    """One record of a random log; ``when`` is its time."""

    place: Place
    epoch: int
    sequence: int
    replayed: bool
    when: int


class Log(NamedTuple):
    """A random log: records in the order of their offsets, statements, and the horizons of cut places."""

    records: list[One]
    checkpoints: list[EventSequence]
    closings: list[EventSequence]
    horizons: dict[Place, float]


STATEMENTS = st.lists(st.builds(EventSequence, st.integers(1, 3), st.integers(0, 9)), max_size=3)
PLACES, REPLAYED = st.sampled_from([EVENTS, DEAD]), st.sampled_from([False, False, False, True])
RECORDS = st.builds(One, PLACES, st.integers(1, 3), st.integers(1, 8), REPLAYED, st.integers(1, 20))
HORIZONS = st.dictionaries(PLACES, st.one_of(st.just(math.inf), st.integers(0, 20).map(float)), max_size=2)
LOGS = st.builds(Log, st.lists(RECORDS, max_size=30), STATEMENTS, STATEMENTS, HORIZONS)


def verdict_on(log: Log) -> SessionVerdict:
    ledger = Ledger()
    for stated in log.checkpoints:
        ledger.add_checkpoint("c", KEY, stated, tombstone=False)
    for stated in log.closings:
        reset = StoredLifecycleEvent(stated, "reset", (None, None), 1, stated.epoch + 1)
        ledger.add_lifecycle("l", KEY, reset, is_reported=True)
    ledger.set_layout(TOPICS, log.horizons)
    for one in log.records:
        numbers = NumberedRecord(one.epoch, one.sequence, one.replayed, one.place is DEAD)
        ledger.add(one.place, KEY, one.when, numbers)
    nothing = SessionVerdict(key=KEY, account=SessionAccount(), epochs=(), is_known=True)
    return next(judge(ledger), nothing)


class Naive:
    """The same with sets and lists."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.checkpoints_and_ends = [*log.checkpoints, *log.closings]
        self.plain = [one for one in log.records if not one.replayed]
        named = {one.epoch for one in log.records} | {one.epoch for one in self.checkpoints_and_ends}
        self.newest = max([*named, *(one.epoch + 1 for one in log.closings)], default=0)
        self.epochs = sorted(named)

    def hidden(self, epoch: int) -> set[int]:
        """Numbers whose first record is behind a higher number in its place."""
        found = set()
        for at, one in enumerate(self.plain):
            before = self.plain[:at]
            is_first = not any(other[1:3] == one[1:3] for other in before)
            behind = any(other.place == one.place and other[1:3] > one[1:3] for other in before)
            if one.epoch == epoch and is_first and behind:
                found.add(one.sequence)
        return found

    def is_expired(self, epoch: int, sequence: int) -> bool:
        """Whether the record may have been removed from some place."""
        for place, horizon in self.log.horizons.items():
            within = [one[1:3] for one in self.plain if one.place == place][:1]
            behind = [one[1:3] for one in self.plain if one.when > max(self.log.horizons.values())]
            if horizon >= 0 and all((epoch, sequence) < number for number in [*within, *behind]):
                return True
        return False

    def judged(self, epoch: int) -> dict[str, Any]:
        """The expected counts of one epoch."""
        seen = {one.sequence for one in self.plain if one.epoch == epoch}
        there = seen | {one.sequence for one in self.log.records if one.epoch == epoch}
        stated = max((one.sequence for one in self.checkpoints_and_ends if one.epoch == epoch), default=None)
        highest, is_over = max(seen, default=0), epoch < self.newest
        in_doubt = bool(self.log.checkpoints) if not is_over else stated is not None
        required = (stated or 0) if in_doubt else max(stated or 0, highest)
        missing = {number for number in range(1, max(required, highest) + 1) if number not in there}
        expired = {number for number in missing if self.is_expired(epoch, number)}
        lost = {number for number in missing - expired if number <= required}
        hidden = {number for number in self.hidden(epoch) if not (is_over and stated is not None and number > stated)}
        return {
            "required": required,
            "lost": lost,
            "hidden": hidden,
            "truncated": len([number for number in lost if number > highest]),
            "expired": len([number for number in expired if number <= required]),
            "in_flight": 0 if is_over else len([number for number in missing - expired if number > required]),
            "superseded": len([number for number in seen if is_over and stated is not None and number > stated]),
            "repeats": len([one for one in self.plain if one.epoch == epoch]) - len(seen),
            "out_of_order": len(self.hidden(epoch)),
            "dead_letters": len([one for one in self.plain if one.epoch == epoch and one.place is DEAD]),
        }


def numbers_in(missing: Missing) -> set[int]:
    return {number for first, last in missing.spans for number in range(first, last + 1)}


@settings(max_examples=5 * EXAMPLES)
@given(LOGS)
def test_every_log_is_judged_like_a_naive_count(log: Log) -> None:
    """Lost, hidden, expired, in flight, superseded, repeats: number by number."""
    naive, verdict = Naive(log), verdict_on(log)
    assert [epoch.epoch for epoch in verdict.epochs] == naive.epochs
    for epoch in verdict.epochs:
        expected = naive.judged(epoch.epoch)
        found = {name: getattr(epoch, name) for name in expected}
        found |= {name: numbers_in(found[name]) for name in ("lost", "hidden")}
        assert found == expected, epoch.epoch
        assert (epoch.lost.count, epoch.hidden.count) == (len(expected["lost"]), len(expected["hidden"]))
        assert (epoch.finding is Finding.LOSS) == bool(expected["lost"] or expected["hidden"])


def follows(records: Sequence[One], numbers: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """The numbers that a consumer which follows the rule misses."""
    highest: dict[Place, tuple[int, int]] = {}
    for one in records:
        if (one.epoch, one.sequence) > highest.get(one.place, (-1, -1)):
            highest[one.place] = (one.epoch, one.sequence)
            numbers = numbers - {(one.epoch, one.sequence)}
    return numbers


@settings(max_examples=5 * EXAMPLES)
@given(LOGS)
def test_a_consumer_of_a_complete_session_misses_no_stated_number(log: Log) -> None:
    log = log._replace(horizons={}, records=[one for one in log.records if not one.replayed])
    stated = [*log.checkpoints, *log.closings]
    promised = {(each.epoch, number) for each in stated for number in range(1, each.sequence + 1)}
    if verdict_on(log).finding is Finding.COMPLETE:
        assert follows(log.records, promised) == set()


def epoch_of(
    numbers: Sequence[int],
    *,
    checkpoint: int | None = None,
    horizons: dict[Place, float] | None = None,
    dead: Sequence[int] = (),
) -> EpochVerdict:
    """One epoch with these numbers in the events topic, one per millisecond."""
    records = [One(EVENTS, 7, number, replayed=False, when=at) for at, number in enumerate(numbers, 1)]
    records += [One(DEAD, 7, number, replayed=False, when=50 + number) for number in dead]
    stated = [] if checkpoint is None else [EventSequence(7, checkpoint)]
    (epoch,) = verdict_on(Log(records, stated, [], horizons or {})).epochs
    return epoch


def test_each_fault_has_its_own_count() -> None:
    """A loss, a duplicate, a swap and a truncation."""
    assert epoch_of([1, 2, 3], checkpoint=3).finding is Finding.COMPLETE
    lost = epoch_of([1, 2, 5], checkpoint=5)
    assert (lost.lost.spans, lost.lost.count, lost.truncated) == (((3, 4),), 2, 0)
    repeated = epoch_of([1, 2, 2, 1, 3], checkpoint=3)
    assert (repeated.repeats, repeated.finding) == (2, Finding.COMPLETE)
    swapped = epoch_of([1, 3, 2], checkpoint=3)
    assert (swapped.hidden.spans, swapped.out_of_order, swapped.lost.count) == (((2, 2),), 1, 0)
    assert swapped.finding is Finding.LOSS
    truncated = epoch_of([1, 2], checkpoint=4)
    assert (truncated.lost.spans, truncated.truncated) == (((3, 4),), 2)


def test_dead_letters_fill_numbers() -> None:
    """They are records in another topic."""
    epoch = epoch_of([1, 3, 4], checkpoint=4, dead=[2])
    assert (epoch.finding, epoch.dead_letters, epoch.records) == (Finding.COMPLETE, 1, 4)


def test_a_record_that_is_not_written_yet_is_not_lost() -> None:
    """Above the checkpoint of a running session. Without a checkpoint it is lost."""
    assert epoch_of([1, 2, 5], checkpoint=2).in_flight == 2
    assert epoch_of([1, 2, 5], checkpoint=2).finding is Finding.COMPLETE
    assert epoch_of([1, 2, 5]).lost.count == 2


def test_an_expired_head_is_not_lost_but_a_gap_behind_it_is() -> None:
    """Also if the whole session expired."""
    epoch = epoch_of([5, 6, 8], checkpoint=8, horizons={EVENTS: 1.0})
    assert (epoch.expired, epoch.lost.spans, epoch.finding) == (4, ((7, 7),), Finding.LOSS)
    assert epoch_of([5, 6], checkpoint=6, horizons={EVENTS: 1.0}).finding is Finding.EXPIRED
    log = Log([], [EventSequence(7, 9)], [], {EVENTS: math.inf})
    assert verdict_on(log).epochs[0].expired == 9


def test_expired_dead_letters_do_not_excuse_a_recent_loss() -> None:
    """A missing record that is younger than the first remaining dead letter did not expire."""
    epoch = epoch_of([1, 2, 4], checkpoint=4, horizons={DEAD: 0.0})
    assert (epoch.lost.spans, epoch.expired) == (((3, 3),), 0)
    assert epoch_of([1, 2, 4], checkpoint=4, horizons={DEAD: 2.0}).expired == 1
    assert epoch_of([1, 2, 4], checkpoint=4, horizons={DEAD: math.inf}).expired == 1


def test_another_partition_excuses_nothing() -> None:
    """The key of a session belongs to one partition of each topic."""
    ledger = Ledger()
    other = Place("e", 1 - partition_of(KEY, 2))
    ledger.set_layout({"e": 2}, {other: math.inf})
    for number in (1, 3):
        own = NumberedRecord(7, number, replayed=False, dead_letter=False)
        ledger.add(Place("e", partition_of(KEY, 2)), KEY, 5, own)
    (verdict,) = judge(ledger)
    assert verdict.finding is Finding.LOSS


def test_a_lifecycle_record_before_the_first_number_is_not_a_statement() -> None:
    """Otherwise every number of a finished epoch would count as superseded."""
    ledger = Ledger()
    attached = StoredLifecycleEvent(EventSequence(1, 0), "attached", (None, None), None, None)
    ledger.add_lifecycle("l", KEY, attached, is_reported=True)
    ledger.set_layout(TOPICS, {})
    for epoch, number in ((1, 1), (1, 3), (2, 1)):
        ledger.add(EVENTS, KEY, 1, NumberedRecord(epoch, number, replayed=False, dead_letter=False))
    (verdict,) = judge(ledger)
    assert verdict.epochs[0].lost.spans == ((2, 2),)


def test_each_gap_of_the_server_is_counted_once() -> None:
    """A crash repeats the last record; `unresumable` can occur twice in a row."""
    ledger = Ledger()
    gap = StoredLifecycleEvent(EventSequence(1, 5), "gap", ("5", "9"), 3, 2)
    unknown = StoredLifecycleEvent(EventSequence(2, 1), "unresumable", ("9", None), None, 3)
    for entry in (gap, gap, unknown, unknown):
        ledger.add_lifecycle("l", KEY, entry, is_reported=True)
    ledger.add_lifecycle("l", KEY, gap, is_reported=False)
    (verdict,) = judge(ledger)
    gaps = verdict.account.gaps
    assert (dict(gaps.kinds), gaps.missing, gaps.unknown) == ({"gap": 1, "unresumable": 2}, 3, 2)


def test_foreign_records_are_counted_and_ignored() -> None:
    """Keys that are not sessions, records without numbers, the bridge's own keys, tombstones."""
    ledger = Ledger()
    ours = NumberedRecord(1, 1, replayed=False, dead_letter=False)
    for key in (None, b"no-slash", b"/x", b"x/", b"\xff/x"):
        ledger.add(EVENTS, key, 1, ours)
    ledger.add(EVENTS, KEY, 1, None)
    ledger.add_checkpoint("c", b"#claim", None, tombstone=False)
    ledger.add_checkpoint("c", KEY, None, tombstone=False)
    ledger.add_lifecycle("l", KEY, None, is_reported=True)
    assert dict(ledger.foreign) == {"e": 6, "c": 1, "l": 1}
    assert not ledger.sessions
    ledger.add_checkpoint("c", KEY, EventSequence(1, 1), tombstone=False)
    ledger.add_checkpoint("c", KEY, None, tombstone=True)
    (verdict,) = judge(ledger)
    assert (verdict.account.checkpoint, verdict.epochs[0].lost.count) == (None, 1)


def test_only_requested_sessions_are_judged() -> None:
    """One that no record names is unknown, not complete."""
    ledger = Ledger(frozenset({KEY, b"local/other"}))
    ledger.set_layout(TOPICS, {})
    for key in (KEY, b"local/third"):
        ledger.add(EVENTS, key, 1, NumberedRecord(1, 1, replayed=False, dead_letter=False))
    found = {one.key: one.finding for one in judge(ledger)}
    assert found == {KEY: Finding.COMPLETE, b"local/other": Finding.UNKNOWN}


def test_all_holes_are_counted_and_the_first_thousand_kept() -> None:
    """If every second record is lost, the spans must not fill the memory."""
    missing = Missing.of((number, number) for number in range(1, 5001, 2))
    assert (missing.count, len(missing.spans), missing.spans_left_out) == (2500, 1000, 1500)


def test_the_worst_sessions_come_first() -> None:
    ledger = Ledger(frozenset({KEY, b"local/r", b"local/t", b"local/unknown"}))
    ledger.set_layout(TOPICS, {})
    for key, numbers in ((b"local/r", [1, 2]), (KEY, [1, 3]), (b"local/t", [1])):
        for number in numbers:
            ledger.add(EVENTS, key, 1, NumberedRecord(1, number, replayed=False, dead_letter=False))
    verdicts = list(judge(ledger))
    assert [one.key for one in worst(verdicts, 3)] == [KEY, b"local/unknown", b"local/r"]
    assert [one.finding.is_good for one in worst(verdicts, 3)] == [False, False, True]
    assert (worst(verdicts, 1)[0].total("lost"), worst(verdicts, 1)[0].total("records")) == (1, 2)


NEAR_EDGES = st.one_of(
    st.integers(1, 70),
    st.integers(4080, 4110),
    st.builds(lambda page, by: page * 4096 + by, st.integers(1, 4), st.integers(-3, 3)),
    st.sampled_from([10**12 - 1, 10**9]),
)
WHOLE_PAGES = st.builds(
    lambda first, pages: range(first, first + pages * 4096), st.integers(1, 5000), st.integers(0, 2)
)


@given(st.lists(NEAR_EDGES))
def test_a_number_is_new_once(numbers: list[int]) -> None:
    found, known = NumberSet(), set[int]()
    for number in numbers:
        assert found.add(number) == (number not in known)
        known.add(number)


@settings(deadline=None)  # it counts thousands of numbers
@given(st.sets(NEAR_EDGES), WHOLE_PAGES)
def test_spans_contain_all_numbers_and_do_not_touch(numbers: set[int], more: range) -> None:
    spans = list(NumberSet([*numbers, *more]).spans())
    assert {number for first, last in spans for number in range(first, last + 1)} == numbers | set(more)
    assert all(end + 1 < start for (_, end), (start, _) in pairwise(spans))


@given(st.sets(NEAR_EDGES), st.sets(NEAR_EDGES))
def test_the_union_changes_neither_set(some: set[int], others: set[int]) -> None:
    one, other = NumberSet(some), NumberSet(others)
    assert list((one | other).spans()) == list(NumberSet(some | others).spans())
    assert list(one.spans()) == list(NumberSet(some).spans())


@given(st.sets(st.integers(1, 9000)), st.integers(1, 50), st.integers(0, 9000))
def test_holes_are_the_missing_numbers_between_two_numbers(numbers: set[int], first: int, last: int) -> None:
    holes = list(NumberSet(numbers).holes(first, last))
    missing = [number for start, end in holes for number in range(start, end + 1)]
    assert missing == [number for number in range(first, last + 1) if number not in numbers]
    assert size_of(holes) == len(missing)


def test_the_cost_does_not_depend_on_the_size_of_a_hole() -> None:
    """One wrong high number must not cause a loop over all numbers below it."""
    assert list(NumberSet([5, 10**12 - 1]).holes(1, 10**12 - 1)) == [(1, 4), (6, 10**12 - 2)]


AS_RECEIVED = "complete as far as the bridge received it"


@pytest.mark.parametrize(
    ("gaps", "missing", "unknown", "words"),
    [
        (0, 0, 0, "complete: nothing is lost"),
        (5, 0, 5, f"{AS_RECEIVED}; 5 gaps, missing events unknown"),
        (1, 7, 0, f"{AS_RECEIVED}; 1 gap, 7 events missing"),
        (3, 7, 2, f"{AS_RECEIVED}; 3 gaps, 7 events missing, missing events unknown in 2 of them"),
        (1, 0, 0, f"{AS_RECEIVED}; 1 gap, no event missing"),
    ],
)  # fmt: skip
def test_announced_gaps_are_part_of_the_verdict(gaps: int, missing: int, unknown: int, words: str) -> None:
    """Nobody may take such a topic for everything that the server had."""
    totals = {"gaps": gaps, "gaps_missing": missing, "gaps_unknown": unknown}
    assert _complete(totals).plain == words
