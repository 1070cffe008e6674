"""The replay buffer against a plain list of everything that was ever appended."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.simulator.server.replay_buffer import ReplayBuffer

capacities = st.integers(1, 12)
counts = st.integers(0, 40)


def filled(capacity: int, count: int) -> ReplayBuffer[int]:
    """A buffer to which 1..count were appended: each item is its own sequence."""
    buffer: ReplayBuffer[int] = ReplayBuffer(capacity)
    for number in range(1, count + 1):
        assert buffer.append(number) == number
    return buffer


@given(capacities, counts)
def test_keeps_the_newest_and_forgets_the_oldest(capacity, count):
    """After any number of appends exactly the last ``capacity`` items are there."""
    buffer = filled(capacity, count)
    kept = list(range(1, count + 1))[-capacity:]
    assert buffer.head == count
    assert buffer.oldest == (kept[0] if kept else count + 1)
    assert [buffer[at] for at in kept] == kept


@given(capacities, counts, st.integers(0, 60), st.integers(1, 50))
def test_after_gives_what_followed_and_is_kept(capacity, count, sequence, limit):
    """``after`` gives the kept items above the sequence in order, at most ``limit``, and where it came to."""
    items, last = filled(capacity, count).after(sequence, limit)
    expected = [number for number in range(1, count + 1)[-capacity:] if number > sequence][:limit]
    assert items == expected
    assert last == (expected[-1] if expected else min(sequence, count))


@given(capacities, counts, st.integers(1, 5))
def test_reading_on_from_the_last_sequence_gives_everything_once(capacity, count, limit):
    """A reader that always asks after the sequence it was told sees every kept item exactly once."""
    buffer, seen, at = filled(capacity, count), [], 0
    while (step := buffer.after(at, limit))[0]:
        seen += step[0]
        at = step[1]
    assert seen == list(range(buffer.oldest, count + 1))


@given(capacities, counts, st.integers(-5, 60))
def test_a_sequence_that_is_not_kept_is_an_error(capacity, count, sequence):
    """Asking for one item never gives another one."""
    buffer = filled(capacity, count)
    if buffer.oldest <= sequence <= count:
        assert buffer[sequence] == sequence
    else:
        with pytest.raises(IndexError):
            buffer[sequence]
