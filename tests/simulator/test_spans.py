"""Spans compared with a set."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.simulator.server.spans import Spans

rows = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)))


def numbers(spans: list[tuple[int, int]]) -> list[int]:
    return [number for first, last in spans for number in range(first, last + 1)]


@given(rows, st.integers(0, 40))
def test_the_same_numbers_as_a_set(added, last):
    """In any order of additions ``ranges`` is the set and ``gaps`` is the rest."""
    spans, plain = Spans(), set[int]()
    for one, other in added:
        spans.add(one, other)
        plain |= set(range(one, other + 1))
    assert numbers(spans.ranges()) == sorted(plain)
    assert numbers(spans.gaps(last)) == [number for number in range(1, last + 1) if number not in plain]
    assert all(end + 1 < begin for (_, end), (begin, _) in zip(spans.ranges(), spans.ranges()[1:], strict=False))


def test_a_copy_is_independent():
    spans = Spans()
    spans.add(1, 2)
    spans.copy().add(3, 4)
    assert spans.ranges() == [(1, 2)]
