"""The demo's comparison finds whatever a bridge could do wrong."""

from __future__ import annotations

from bridge.demo.consumed_record import ConsumedRecord
from bridge.demo.summary import Ledger, Tally, compare, fingerprint, judge

SESSION = "amber"
DATA = [f'{{"content":"{number}"}}'.encode() for number in range(1, 11)]


def arrival(sequence: int, *, epoch: int = 1, event_id: int | None = None, data: bytes | None = None) -> ConsumedRecord:
    """The ``sequence``-th event of the journal, unless something else is asked for."""
    number = event_id or sequence
    return ConsumedRecord(SESSION, "content", str(number), epoch, sequence, DATA[number - 1] if data is None else data)


def outcome(*arrivals: ConsumedRecord, partition: int = 0) -> Tally:
    ledger = Ledger()
    for one in arrivals:
        ledger.take("mix.events", partition, one)
    return verdict_of(ledger)


def verdict_of(ledger: Ledger) -> Tally:
    sent = [fingerprint(str(number), "content", data) for number, data in enumerate(DATA, 1)]
    return judge(iter([(SESSION, sent)]), ledger).total


ALL = [arrival(number) for number in range(1, 11)]


def test_everything_once_and_in_order_is_good():
    total = outcome(*ALL)
    assert total == Tally(sent=10, arrived=10)
    assert total.is_good


def test_one_missing_event_is_lost():
    total = outcome(*ALL[:4], *ALL[5:])
    assert (total.lost, total.arrived, total.is_good) == (1, 9, False)


def test_missing_events_at_the_end_are_lost():
    assert outcome(*ALL[:7]).lost == 3


def test_a_session_of_which_nothing_arrived_is_lost():
    assert outcome().lost == 10


def test_a_repeat_under_its_number_is_dropped_and_counted():
    """At least once: repeats are within the promise."""
    total = outcome(*ALL[:6], *ALL[3:])
    assert (total.repeated, total.lost, total.is_good) == (3, 0, True)


def test_a_repeat_of_a_new_epoch_is_counted_too():
    again = [arrival(number, epoch=2, event_id=number + 5) for number in range(1, 6)]
    total = outcome(*ALL[:8], *again)
    assert (total.repeated, total.lost, total.misplaced) == (3, 0, 0)


def test_one_altered_byte_is_an_event_lost_and_a_record_the_server_never_sent():
    total = outcome(*ALL[:4], arrival(5, data=DATA[4].replace(b"5", b"6")), *ALL[5:])
    assert (total.lost, total.foreign, total.is_good) == (1, 1, False)


def test_two_events_in_the_wrong_order_are_found_whatever_their_numbers_say():
    total = outcome(*ALL[:4], arrival(5, event_id=6), arrival(6, event_id=5), *ALL[6:])
    assert (total.lost, total.misplaced, total.is_good) == (0, 1, False)


def test_an_event_under_another_session_is_lost_there_and_foreign_here():
    total = outcome(*ALL[:9], ALL[9]._replace(session="birch"))
    assert (total.lost, total.foreign) == (1, 1)


def test_a_record_nobody_understands_is_foreign():
    ledger = Ledger()
    ledger.not_understood = 1
    assert verdict_of(ledger).foreign == 1


def test_dead_letters_count_as_arrived():
    """They stand in a topic of their own: order holds within each topic-partition."""
    ledger = Ledger()
    for one in (ALL[2], ALL[6]):
        ledger.take("mix.dead-letters", 0, one)
    for one in [*ALL[:2], *ALL[3:6], *ALL[7:]]:
        ledger.take("mix.events", 0, one)
    assert verdict_of(ledger) == Tally(sent=10, arrived=10)


def test_the_rule_is_per_topic_partition():
    """The highest number of one partition says nothing about another."""
    ledger = Ledger()
    assert ledger.take("mix.events", 0, ALL[5])
    assert ledger.take("mix.events", 1, ALL[2])
    assert not ledger.take("mix.events", 0, ALL[2])


def test_the_same_words_twice_are_two_events():
    """Agents repeat themselves: the id tells the events apart."""
    one, other = fingerprint("1", "content", b"{}"), fingerprint("2", "content", b"{}")
    assert compare([one, other], [[one]]).lost == 1


def test_no_two_events_share_a_fingerprint_by_shifting_a_border():
    assert fingerprint("1", "2a", b"b") != fingerprint("12", "a", b"b")
    assert fingerprint("1", "a", b"bc") != fingerprint("1", "ab", b"c")
