"""NumberSet against Python sets."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.admin.verify.number_set import NumberSet, size_of

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
    """As in a set of Python."""
    found, known = NumberSet(), set[int]()
    for number in numbers:
        assert found.add(number) == (number not in known)
        known.add(number)


@settings(deadline=None)  # it counts thousands of numbers
@given(st.sets(NEAR_EDGES), WHOLE_PAGES)
def test_spans_contain_all_numbers_and_do_not_touch(numbers: set[int], more: range) -> None:
    """They are in order."""
    spans = list(NumberSet([*numbers, *more]).spans())
    assert {number for first, last in spans for number in range(first, last + 1)} == numbers | set(more)
    assert all(end + 1 < start for (_, end), (start, _) in pairwise(spans))


@given(st.sets(NEAR_EDGES), st.sets(NEAR_EDGES))
def test_the_union_changes_neither_set(some: set[int], others: set[int]) -> None:
    """It contains the numbers of both."""
    one, other = NumberSet(some), NumberSet(others)
    assert list((one | other).spans()) == list(NumberSet(some | others).spans())
    assert list(one.spans()) == list(NumberSet(some).spans())


@given(st.sets(st.integers(1, 9000)), st.integers(1, 50), st.integers(0, 9000))
def test_holes_are_the_missing_numbers_between_two_numbers(numbers: set[int], first: int, last: int) -> None:
    """Both included."""
    holes = list(NumberSet(numbers).holes(first, last))
    missing = [number for start, end in holes for number in range(start, end + 1)]
    assert missing == [number for number in range(first, last + 1) if number not in numbers]
    assert size_of(holes) == len(missing)


def test_the_cost_does_not_depend_on_the_size_of_a_hole() -> None:
    """One wrong high number must not cause a loop over all numbers below it."""
    assert list(NumberSet([5, 10**12 - 1]).holes(1, 10**12 - 1)) == [(1, 4), (6, 10**12 - 2)]
