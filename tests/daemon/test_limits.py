"""What is set for the whole process."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from bridge.daemon.limits import share_interpreter_among, turn_of


@pytest.fixture
def interval_as_before() -> Iterator[float]:
    before = sys.getswitchinterval()
    yield before
    sys.setswitchinterval(before)


def test_few_readers_change_nothing_and_many_have_longer_turns() -> None:
    """However many wait, their looks together stay at 20,000 a second."""
    assert turn_of(1) == turn_of(100) == pytest.approx(0.005)
    assert all(readers / turn_of(readers) == pytest.approx(20_000) for readers in (101, 800, 5000))


def test_the_interpreter_heeds_it(interval_as_before: float) -> None:
    """And takes it back when they are gone."""
    share_interpreter_among(5000)
    assert sys.getswitchinterval() == pytest.approx(0.25)
    share_interpreter_among(0)
    assert sys.getswitchinterval() == pytest.approx(interval_as_before)
