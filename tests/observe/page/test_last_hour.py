"""The counters of the last hour."""

from __future__ import annotations

from bridge.core.snapshot import Counters
from bridge.observe.page.feed import STEP, LastHour


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
