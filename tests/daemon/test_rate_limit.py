"""How connects to one server are spread."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.daemon.rate_limit import BURST, RATE, RateLimit


def moments(asked: list[float], pace: RateLimit) -> list[float]:
    """When each of those who ask at these moments has its turn."""
    turns = []
    for now in asked:
        wait, pace = pace.turn(now)
        turns.append(now + wait)
    return turns


@given(st.lists(st.floats(0, 3), min_size=1, max_size=300).map(sorted), st.floats(1, 100), st.integers(1, 20))
def test_no_second_has_more_than_the_rate_and_one_burst(asked, rate, burst):
    """Whoever asks whenever: within any time there are no more turns than its rate allows, and one burst."""
    turns = moments(asked, RateLimit(rate, burst))
    for first in range(len(turns)):
        for last in range(first, len(turns)):
            span = turns[last] - turns[first]
            assert last - first + 1 <= burst + span * rate + 1e-6


@given(st.lists(st.floats(0, 3), min_size=1, max_size=100).map(sorted))
def test_turns_come_in_the_order_they_were_asked_for(asked):
    """First come, first served."""
    turns = moments(asked, RateLimit(10, 3))
    assert turns == sorted(turns)


def test_a_few_start_at_once_and_the_rest_one_by_one():
    """A burst, then evenly."""
    assert moments([5.0] * 6, RateLimit(rate=10, burst=3)) == pytest.approx([5.0, 5.0, 5.0, 5.1, 5.2, 5.3])


def test_a_quiet_time_saves_one_burst_and_no_more():
    """After an hour as after a second."""
    busy = [0.0] * 10
    assert moments([*busy, *[3600.0] * 5], RateLimit(rate=10, burst=3))[10:] == pytest.approx(
        [3600.0] * 3 + [3600.1, 3600.2]
    )


@given(st.integers(0, 500), st.floats(0, 5), st.floats(0, 5))
def test_places_are_the_turns_that_come_within_the_time(taken, later, within):
    """One who asks for each of them waits no longer, and the next one does."""
    pace = RateLimit(rate=64, burst=8)
    for _ in range(taken):
        _, pace = pace.turn(0.0)
    places = pace.places(later, within)
    waits = [moment - later for moment in moments([later] * (places + 1), pace)]
    assert all(wait <= within + 1e-6 for wait in waits[:places])
    assert waits[places] >= within - 1e-6


def test_turns_that_are_given_back_are_there_again():
    """A shard that is given up at once must not make the next one wait for turns that nobody takes."""
    pace = RateLimit()
    for _ in range(5000):
        _, pace = pace.turn(0.0)
    for _ in range(5000):
        pace = pace.given_back()
    assert pace.turn(0.0)[0] == 0.0


def test_the_sessions_of_a_dead_replica_are_read_within_two_seconds_and_5000_within_a_minute():
    """What the defaults are for."""
    assert moments([0.0] * 400, RateLimit())[-1] < 2.0
    assert moments([0.0] * 5000, RateLimit())[-1] < 60.0
    assert (RATE, BURST) == (200.0, 50)
