"""What `verify` says of records: against a naive count of small random logs, and case by case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.admin.verify.accounts import Layout, Ledger, Place
from bridge.admin.verify.findings import EpochVerdict, Finding, Missing, SessionVerdict, judge, worst
from bridge.admin.verify.record_numbers import LifecycleEntry, Numbers, Statement
from bridge.core.identity import partition_of
from tests.support.effort import EXAMPLES

KEY = b"local/s"
EVENTS, DEAD = Place("e", 0), Place("d", 0)
ALL_THERE = Layout({"e": 1, "d": 1}, {})


class One(NamedTuple):
    """One record of a random log; ``when`` is its time."""

    place: Place
    epoch: int
    sequence: int
    replayed: bool
    when: int


class Log(NamedTuple):
    """A random log: records in the order of their offsets, statements, where beginnings are gone."""

    records: list[One]
    checkpoints: list[Statement]
    closings: list[Statement]
    horizons: dict[Place, float]


STATEMENTS = st.lists(st.builds(Statement, st.integers(1, 3), st.integers(0, 9)), max_size=3)
LOGS = st.builds(
    Log,
    st.lists(
        st.builds(
            One,
            st.sampled_from([EVENTS, DEAD]),
            st.integers(1, 3),
            st.integers(1, 8),
            st.sampled_from([False, False, False, True]),
            st.integers(1, 20),
        ),
        max_size=30,
    ),
    STATEMENTS,
    STATEMENTS,
    st.dictionaries(
        st.sampled_from([EVENTS, DEAD]), st.one_of(st.just(math.inf), st.integers(0, 20).map(float)), max_size=2
    ),
)


def verdict_on(log: Log) -> SessionVerdict:
    """What the accounts say of it."""
    ledger = Ledger()
    for stated in log.checkpoints:
        ledger.checkpoint("c", KEY, stated, tombstone=False)
    for stated in log.closings:
        ledger.happened("l", KEY, LifecycleEntry(stated, "reset", (None, None), 1, stated.epoch + 1), is_told=True)
    ledger.lay_out(Layout({"e": 1, "d": 1}, log.horizons))
    for one in log.records:
        numbers = Numbers(one.epoch, one.sequence, one.replayed, one.place is DEAD)
        ledger.take(one.place, KEY, one.when, numbers)
    return next(judge(ledger), SessionVerdict(key=KEY))


class Naive:
    """The same by sets and lists, one question after the other."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.told = [*log.checkpoints, *log.closings]
        self.plain = [one for one in log.records if not one.replayed]
        named = {one.epoch for one in log.records} | {one.epoch for one in self.told}
        self.newest = max([*named, *(one.epoch + 1 for one in log.closings)], default=0)
        self.epochs = sorted(named)

    def hidden(self, epoch: int) -> set[int]:
        """First seen where a higher number was before in the same place."""
        found = set()
        for at, one in enumerate(self.plain):
            before = self.plain[:at]
            is_first = not any(other[1:3] == one[1:3] for other in before)
            behind = any(other.place == one.place and other[1:3] > one[1:3] for other in before)
            if one.epoch == epoch and is_first and behind:
                found.add(one.sequence)
        return found

    def is_expired(self, epoch: int, sequence: int) -> bool:
        """Whether some place may have had it and not have it any more."""
        for place, horizon in self.log.horizons.items():
            within = [one[1:3] for one in self.plain if one.place == place][:1]
            behind = [one[1:3] for one in self.plain if one.when > max(self.log.horizons.values())]
            if horizon >= 0 and all((epoch, sequence) < number for number in [*within, *behind]):
                return True
        return False

    def judged(self, epoch: int) -> dict[str, Any]:
        """What there is to say of one epoch."""
        seen = {one.sequence for one in self.plain if one.epoch == epoch}
        there = seen | {one.sequence for one in self.log.records if one.epoch == epoch}
        stated = max((one.sequence for one in self.told if one.epoch == epoch), default=None)
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
    """One by one."""
    return {number for first, last in missing.spans for number in range(first, last + 1)}


@settings(max_examples=5 * EXAMPLES)
@given(LOGS)
def test_every_log_is_judged_as_a_naive_count_judges_it(log: Log) -> None:
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
    """What a consumer by the rule misses of these numbers."""
    highest: dict[Place, tuple[int, int]] = {}
    for one in records:
        if (one.epoch, one.sequence) > highest.get(one.place, (-1, -1)):
            highest[one.place] = (one.epoch, one.sequence)
            numbers = numbers - {(one.epoch, one.sequence)}
    return numbers


@settings(max_examples=5 * EXAMPLES)
@given(LOGS)
def test_a_session_found_complete_gives_a_consumer_all_that_was_stated(log: Log) -> None:
    """Nothing that a statement promises escapes one that follows the rule."""
    log = log._replace(horizons={}, records=[one for one in log.records if not one.replayed])
    promised = {
        (stated.epoch, sequence)
        for stated in [*log.checkpoints, *log.closings]
        for sequence in range(1, stated.sequence + 1)
    }
    if verdict_on(log).finding is Finding.COMPLETE:
        assert follows(log.records, promised) == set()


def epoch_of(
    numbers: Sequence[int],
    *,
    checkpoint: int | None = None,
    horizons: dict[Place, float] | None = None,
    dead: Sequence[int] = (),
) -> EpochVerdict:
    """One epoch with these numbers in the events topic, one a millisecond."""
    records = [One(EVENTS, 7, number, replayed=False, when=at) for at, number in enumerate(numbers, 1)]
    records += [One(DEAD, 7, number, replayed=False, when=50 + number) for number in dead]
    stated = [] if checkpoint is None else [Statement(7, checkpoint)]
    (epoch,) = verdict_on(Log(records, stated, [], horizons or {})).epochs
    return epoch


def test_planted_faults_are_each_named() -> None:
    """A loss, a duplicate, a swap and a truncation are four different things."""
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
    """They are records like others, in a topic of their own."""
    epoch = epoch_of([1, 3, 4], checkpoint=4, dead=[2])
    assert (epoch.finding, epoch.dead_letters, epoch.records) == (Finding.COMPLETE, 1, 4)


def test_what_a_running_daemon_has_not_written_yet_is_no_loss() -> None:
    """Above the last position of a session that goes on; without any position it is one."""
    assert epoch_of([1, 2, 5], checkpoint=2).in_flight == 2
    assert epoch_of([1, 2, 5], checkpoint=2).finding is Finding.COMPLETE
    assert epoch_of([1, 2, 5]).lost.count == 2


def test_an_expired_head_is_no_loss_but_what_is_missing_behind_it_is() -> None:
    """Also where all of a session is gone."""
    epoch = epoch_of([5, 6, 8], checkpoint=8, horizons={EVENTS: 1.0})
    assert (epoch.expired, epoch.lost.spans, epoch.finding) == (4, ((7, 7),), Finding.LOSS)
    assert epoch_of([5, 6], checkpoint=6, horizons={EVENTS: 1.0}).finding is Finding.EXPIRED
    log = Log([], [Statement(7, 9)], [], {EVENTS: math.inf})
    assert verdict_on(log).epochs[0].expired == 9


def test_dead_letters_of_long_ago_that_are_gone_do_not_excuse_a_loss_of_today() -> None:
    """What is missing between records later than the first dead letter left would still be there."""
    epoch = epoch_of([1, 2, 4], checkpoint=4, horizons={DEAD: 0.0})
    assert (epoch.lost.spans, epoch.expired) == (((3, 3),), 0)
    assert epoch_of([1, 2, 4], checkpoint=4, horizons={DEAD: 2.0}).expired == 1
    assert epoch_of([1, 2, 4], checkpoint=4, horizons={DEAD: math.inf}).expired == 1


def test_a_place_that_the_session_never_wrote_to_excuses_nothing() -> None:
    """Its key goes to one partition of each topic."""
    ledger = Ledger()
    other = Place("e", 1 - partition_of(KEY, 2))
    ledger.lay_out(Layout({"e": 2}, {other: math.inf}))
    for number in (1, 3):
        ledger.take(Place("e", partition_of(KEY, 2)), KEY, 5, Numbers(7, number, replayed=False, dead_letter=False))
    (verdict,) = judge(ledger)
    assert verdict.finding is Finding.LOSS


def test_the_beginning_of_an_epoch_that_goes_on_states_nothing_of_its_end() -> None:
    """Or every number of an epoch that is over would pass for superseded."""
    ledger = Ledger()
    attached = LifecycleEntry(Statement(1, 0), "attached", (None, None), None, None)
    ledger.happened("l", KEY, attached, is_told=True)
    ledger.lay_out(ALL_THERE)
    for epoch, number in ((1, 1), (1, 3), (2, 1)):
        ledger.take(EVENTS, KEY, 1, Numbers(epoch, number, replayed=False, dead_letter=False))
    (verdict,) = judge(ledger)
    assert verdict.epochs[0].lost.spans == ((2, 2),)


def test_gaps_of_the_server_are_told_apart_and_counted_once() -> None:
    """A crash repeats the last record; a connection that cannot be resumed can come twice alike."""
    ledger = Ledger()
    gap = LifecycleEntry(Statement(1, 5), "gap", ("5", "9"), 3, 2)
    unknown = LifecycleEntry(Statement(2, 1), "unresumable", ("9", None), None, 3)
    for entry in (gap, gap, unknown, unknown):
        ledger.happened("l", KEY, entry, is_told=True)
    ledger.happened("l", KEY, gap, is_told=False)
    (verdict,) = judge(ledger)
    assert (dict(verdict.gaps), verdict.gaps_missing, verdict.gaps_unknown) == ({"gap": 1, "unresumable": 2}, 3, 2)


def test_what_is_not_ours_is_counted_and_harms_nobody() -> None:
    """Keys that name no session, records without numbers, the bridge's own keys, tombstones."""
    ledger = Ledger()
    ours = Numbers(1, 1, replayed=False, dead_letter=False)
    for key in (None, b"no-slash", b"/x", b"x/", b"\xff/x"):
        ledger.take(EVENTS, key, 1, ours)
    ledger.take(EVENTS, KEY, 1, None)
    ledger.checkpoint("c", b"#claim", None, tombstone=False)
    ledger.checkpoint("c", KEY, None, tombstone=False)
    ledger.happened("l", KEY, None, is_told=True)
    assert dict(ledger.foreign) == {"e": 6, "c": 1, "l": 1}
    assert not ledger.sessions
    ledger.checkpoint("c", KEY, Statement(1, 1), tombstone=False)
    ledger.checkpoint("c", KEY, None, tombstone=True)
    (verdict,) = judge(ledger)
    assert (verdict.checkpoint, verdict.epochs[0].lost.count) == (None, 1)


def test_only_what_was_asked_for_is_judged_and_what_nobody_knows_is_said() -> None:
    """A misspelt session is not complete."""
    ledger = Ledger(frozenset({KEY, b"local/other"}))
    ledger.lay_out(ALL_THERE)
    for key in (KEY, b"local/third"):
        ledger.take(EVENTS, key, 1, Numbers(1, 1, replayed=False, dead_letter=False))
    assert {one.key: one.finding for one in judge(ledger)} == {
        KEY: Finding.COMPLETE,
        b"local/other": Finding.UNKNOWN,
    }


def test_very_many_holes_are_counted_and_the_first_thousand_told() -> None:
    """A log with every second record lost must not fill the memory."""
    missing = Missing.of((number, number) for number in range(1, 5001, 2))
    assert (missing.count, len(missing.spans), missing.spans_left_out) == (2500, 1000, 1500)


def test_the_worst_sessions_come_first() -> None:
    """Where there is no room for all."""
    ledger = Ledger(frozenset({KEY, b"local/r", b"local/t", b"local/unknown"}))
    ledger.lay_out(ALL_THERE)
    for key, numbers in ((b"local/r", [1, 2]), (KEY, [1, 3]), (b"local/t", [1])):
        for number in numbers:
            ledger.take(EVENTS, key, 1, Numbers(1, number, replayed=False, dead_letter=False))
    verdicts = list(judge(ledger))
    assert [one.key for one in worst(verdicts, 3)] == [KEY, b"local/unknown", b"local/r"]
    assert [one.finding.is_good for one in worst(verdicts, 3)] == [False, False, True]
    assert (worst(verdicts, 1)[0].total("lost"), worst(verdicts, 1)[0].total("records")) == (1, 2)
