"""The demo's comparison finds every error that a bridge could make."""

from __future__ import annotations

from dataclasses import replace

from bridge.consumer import Event
from bridge.demo.summary import Counts, ReceivedEvents, compare, fingerprint, summarize
from tests.fakes.consumed_events import consumed_event

SESSION = "amber"
DATA = [f'{{"content":"{number}"}}'.encode() for number in range(1, 11)]


def record(sequence: int, *, epoch: int = 1, event_id: int | None = None, data: bytes | None = None) -> Event:
    """Return the ``sequence``-th event of the journal, with the given differences."""
    number = event_id or sequence
    sent = DATA[number - 1] if data is None else data
    return consumed_event(sent, sequence, epoch=epoch, sse_id=str(number), session=SESSION)


def result(*records: Event) -> Counts:
    received = ReceivedEvents()
    for one in records:
        received.add(one)
    return totals_of(received)


def totals_of(received: ReceivedEvents) -> Counts:
    sent = [fingerprint(str(number), "content", data) for number, data in enumerate(DATA, 1)]
    return summarize(iter([(SESSION, sent)]), received).total


ALL = [record(number) for number in range(1, 11)]


def test_everything_once_and_in_order_is_correct():
    total = result(*ALL)
    assert total == Counts(sent=10, arrived=10)
    assert total.is_correct


def test_one_missing_event_is_lost():
    total = result(*ALL[:4], *ALL[5:])
    assert (total.lost, total.arrived, total.is_correct) == (1, 9, False)


def test_missing_events_at_the_end_are_lost():
    assert result(*ALL[:7]).lost == 3


def test_a_session_of_which_nothing_arrived_is_lost():
    assert result().lost == 10


def test_a_repeat_under_its_number_is_dropped_and_counted():
    """At least once allows repeats."""
    total = result(*ALL[:6], *ALL[3:])
    assert (total.repeated, total.lost, total.is_correct) == (3, 0, True)


def test_a_repeat_of_a_new_epoch_is_counted_too():
    again = [record(number, epoch=2, event_id=number + 5) for number in range(1, 6)]
    total = result(*ALL[:8], *again)
    assert (total.repeated, total.lost, total.out_of_order) == (3, 0, 0)


def test_one_altered_byte_is_a_lost_event_and_an_altered_record():
    total = result(*ALL[:4], record(5, data=DATA[4].replace(b"5", b"6")), *ALL[5:])
    assert (total.lost, total.altered, total.is_correct) == (1, 1, False)


def test_two_events_in_the_wrong_order_are_found_despite_rising_numbers():
    total = result(*ALL[:4], record(5, event_id=6), record(6, event_id=5), *ALL[6:])
    assert (total.lost, total.out_of_order, total.is_correct) == (0, 1, False)


def test_an_event_under_another_session_is_lost_and_altered():
    total = result(*ALL[:9], replace(ALL[9], session="birch"))
    assert (total.lost, total.altered) == (1, 1)


def test_a_record_that_is_not_understood_counts_as_altered():
    received = ReceivedEvents()
    received.not_understood = 1
    assert totals_of(received).altered == 1


def test_dead_letters_count_as_arrived():
    """They have their own topic, and order is compared within each topic-partition."""
    received = ReceivedEvents()
    for one in (ALL[2], ALL[6]):
        received.add(replace(one, topic="mix.dead-letters"))
    for one in [*ALL[:2], *ALL[3:6], *ALL[7:]]:
        received.add(one)
    assert totals_of(received) == Counts(sent=10, arrived=10)


def test_the_rule_is_per_topic_partition():
    """The highest number of one partition does not affect another."""
    received = ReceivedEvents()
    assert received.add(ALL[5])
    assert received.add(replace(ALL[2], partition=1))
    assert not received.add(ALL[2])


def test_the_same_data_under_two_ids_are_two_events():
    one, other = fingerprint("1", "content", b"{}"), fingerprint("2", "content", b"{}")
    assert compare([one, other], [[one]]).lost == 1


def test_a_fingerprint_separates_id_name_and_data():
    assert fingerprint("1", "2a", b"b") != fingerprint("12", "a", b"b")
    assert fingerprint("1", "a", b"bc") != fingerprint("1", "ab", b"c")
