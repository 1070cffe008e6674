"""The counters of the last hour, and the difference of two views, judged by the algorithm of RFC 7396."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bridge.core.snapshot import Counters
from bridge.observe.page.feed import STEP, LastHour, difference
from tests.observe.page.merging import merge_patch


def test_before_the_first_hour_it_counts_since_the_start() -> None:
    """And says how long that is."""
    hour = LastHour(100.0)
    change = hour.change(130.0, Counters(received=7, gaps=1, dead_letters={"schema": 2}))
    assert (change.seconds, change.counts["received"], change.counts["gaps"]) == (30.0, 7, 1)
    assert change.dead_letters == {"schema": 2}
    assert change.per_minute == (7,)


def test_a_sample_is_due_each_minute() -> None:
    """Not more often, however often the page asks."""
    hour = LastHour(0.0)
    assert not hour.is_due(STEP - 1)
    assert hour.is_due(STEP)
    hour.add(STEP, Counters())
    assert not hour.is_due(STEP + 1)


def test_after_an_hour_older_events_do_not_count() -> None:
    """1 event in the first minute, 2 in the second, and so on, for 100 minutes."""
    hour, received, minutes = LastHour(0.0), 0, 100
    for minute in range(1, minutes + 1):
        received += minute
        hour.add(minute * STEP, Counters(received=received, dead_letters={"schema": 5, "oversize": minute}))
    change = hour.change(minutes * STEP, Counters(received=received, dead_letters={"schema": 5, "oversize": minutes}))
    assert change.seconds == 60 * STEP
    assert change.counts["received"] == sum(range(41, 101))
    assert change.dead_letters == {"oversize": 60}
    assert change.per_minute == (*range(41, 101), 0)


NAMES = st.sampled_from(["a", "b", "c", "__proto__", ""])
LEAVES = st.booleans() | st.integers(2, 5) | st.text(max_size=3) | st.lists(st.integers(2, 3), max_size=2)
OBJECTS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=4),
    lambda inner: st.dictionaries(NAMES, LEAVES | inner, max_size=4),
    max_leaves=8,
)


@given(OBJECTS, OBJECTS)
def test_the_patch_turns_one_into_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Members that were added, removed, changed, or became another type."""
    assert merge_patch(old, difference(old, new)) == new


@given(OBJECTS)
def test_equal_objects_have_an_empty_patch(value: dict[str, Any]) -> None:
    """A second without a change costs nothing."""
    assert difference(value, value) == {}


@given(OBJECTS, NAMES, st.integers(10, 20))
def test_the_patch_holds_nothing_that_did_not_change(value: dict[str, Any], name: str, leaf: int) -> None:
    """One changed member, at any depth, is one value in the patch."""
    changed = {**value, name: leaf}
    assert difference(value, changed) == {name: leaf}
    assert difference({"deep": {"x": value, "y": 2}}, {"deep": {"x": changed, "y": 2}}) == {"deep": {"x": {name: leaf}}}


@given(OBJECTS, OBJECTS, OBJECTS)
def test_patches_follow_each_other(first: dict[str, Any], second: dict[str, Any], third: dict[str, Any]) -> None:
    """A page applies one after the other."""
    at_second = merge_patch(first, difference(first, second))
    assert merge_patch(at_second, difference(second, third)) == third
