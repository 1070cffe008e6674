"""The replay buffer compared with a list of all items."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.simulator.server.replay_buffer import ReplayBuffer

capacities = st.integers(1, 12)
counts = st.integers(0, 40)


def filled(capacity: int, count: int) -> ReplayBuffer[int]:
    """Return a buffer with the items 1..count: each item is its own sequence."""
    buffer: ReplayBuffer[int] = ReplayBuffer(capacity)
    for number in range(1, count + 1):
        assert buffer.append(number) == number
    return buffer


@given(capacities, counts)
def test_exactly_the_newest_items_are_kept(capacity, count):
    buffer = filled(capacity, count)
    kept = list(range(1, count + 1))[-capacity:]
    assert buffer.head == count
    assert buffer.oldest == (kept[0] if kept else count + 1)
    assert [buffer[at] for at in kept] == kept


@given(capacities, counts, st.integers(0, 60), st.integers(1, 50))
def test_after_returns_kept_items_above_the_sequence(capacity, count, sequence, limit):
    items, last = filled(capacity, count).after(sequence, limit)
    expected = [number for number in range(1, count + 1)[-capacity:] if number > sequence][:limit]
    assert items == expected
    assert last == (expected[-1] if expected else min(sequence, count))


@given(capacities, counts, st.integers(1, 5))
def test_a_reader_that_continues_after_the_last_sequence_gets_every_kept_item_once(capacity, count, limit):
    buffer, seen, at = filled(capacity, count), [], 0
    while (step := buffer.after(at, limit))[0]:
        seen += step[0]
        at = step[1]
    assert seen == list(range(buffer.oldest, count + 1))


@given(capacities, counts, st.integers(-5, 60))
def test_a_sequence_that_is_not_kept_is_an_error(capacity, count, sequence):
    buffer = filled(capacity, count)
    if buffer.oldest <= sequence <= count:
        assert buffer[sequence] == sequence
    else:
        with pytest.raises(IndexError):
            buffer[sequence]
