"""Finding the records that Kafka refuses: every step makes progress, nobody is blamed in company."""

from __future__ import annotations

from math import ceil, log2

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.delivery.refusals import MOST, Isolation
from tests.support.effort import EXAMPLES


class Stream:
    """Records of which some are refused, sent by pieces of batches."""

    def __init__(self, refused: set[int], length: int) -> None:
        self.refused = refused
        self.length = length
        self.isolation = Isolation()
        self.dead: list[int] = []
        self.trips: list[tuple[int, int]] = []

    def run(self) -> None:
        """A refusal in company, then pieces until all have passed."""
        at = 0
        self.isolation.begin()
        while at < self.length and self.isolation.is_active:
            size = self.isolation.piece(min(MOST, self.length - at))
            assert 1 <= size <= min(MOST, self.length - at)
            self.trips.append((at, size))
            assert len(self.trips) < 20 * self.length + 20, "no progress"
            culprits = self.refused & set(range(at, at + size))
            if not culprits:
                self.isolation.accepted(size)
                at += size
            elif self.isolation.refused(size):
                assert culprits == {at}, "a verdict about a record that was not alone"
                self.dead.append(at)
                self.refused = self.refused - culprits  # its dead letter is accepted


@given(refused=st.sets(st.integers(0, 999), max_size=60))
@settings(max_examples=EXAMPLES, deadline=None)
def test_exactly_the_refused_records_become_dead_letters(refused: set[int]) -> None:
    """Each alone in its request, with any other records before and after it."""
    stream = Stream(refused, 1000)
    stream.run()
    assert stream.dead == sorted(refused)


@given(at=st.integers(0, MOST - 1), length=st.integers(1, MOST))
@settings(max_examples=EXAMPLES, deadline=None)
def test_one_refused_record_costs_two_round_trips_and_the_logarithm_of_its_batch(at: int, length: int) -> None:
    """Those before it pass meanwhile."""
    at %= length
    stream = Stream({at}, length)
    stream.run()
    until_verdict = next(n for n, (start, size) in enumerate(stream.trips, 1) if (start, size) == (at, 1))
    assert until_verdict <= ceil(log2(length)) + 2


def test_a_stream_of_refused_records_needs_few_requests_for_each() -> None:
    """Every tenth: a piece is about as long as the distance between two of them. All: each alone, and its letter."""
    tenth = Stream(set(range(0, 2000, 10)), 2000)
    tenth.run()
    assert len(tenth.trips) < 9 * 200
    everyone = Stream(set(range(500)), 500)
    everyone.run()
    assert len(everyone.trips) < 3 * 500 + 20


def test_an_innocent_session_is_free_after_its_batches_have_passed() -> None:
    """It shared a request with another session's refused record."""
    isolation = Isolation()
    isolation.begin()
    for _ in range(2):
        assert isolation.piece(MOST) == MOST
        isolation.accepted(MOST)
    assert not isolation.is_active


def test_a_topic_that_accepts_nothing_is_probed_with_one_record() -> None:
    """When it is accepted, everything goes as before; what is known of a refused record is kept meanwhile."""
    isolation = Isolation()
    isolation.probe()
    assert isolation.piece(100) == 1
    isolation.accepted(1)
    assert not isolation.is_active
    isolation.begin()
    isolation.refused(100)
    isolation.probe()
    assert isolation.piece(100) == 50


def test_a_piece_that_was_not_accepted_in_time_gets_twice_as_long() -> None:
    """A new producer must first connect and log in. An answer, whichever it is, ends that."""
    one = Isolation()
    one.note_time(is_too_short=True)
    assert one.time_limit == 1.0, "it was a transaction of all sessions"
    one.probe()
    for expected in (2.0, 4.0, 8.0, 16.0, 20.0, 20.0):
        one.note_time(is_too_short=True)
        one.note_time(is_too_short=False)
        assert one.time_limit == expected
    one.refused(10)
    assert one.time_limit == 1.0
    one.note_time(is_too_short=True)
    one.accepted(5)
    assert one.time_limit == 1.0
