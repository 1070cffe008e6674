"""The counters of a session's stream."""

from __future__ import annotations

from dataclasses import fields

from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.snapshot import Counters
from bridge.daemon.session_log import SessionCounters


def test_each_counter_is_one_of_the_snapshot() -> None:
    """The numbers are copied there by name."""
    assert set(SessionCounters().numbers()) < {each.name for each in fields(Counters)}


def test_lifecycle_events_are_counted_by_kind() -> None:
    """A gap adds the events that are missing, as far as their number is known."""
    counters = SessionCounters()
    counters.add_lifecycle_event(LifecycleEvent("gap", "ids_jumped", "", "1", "5", 3), backfilled=0)
    counters.add_lifecycle_event(LifecycleEvent("gap", "not_replayed", "", "5", "5"), backfilled=2)
    counters.add_lifecycle_event(LifecycleEvent("resumed", "replay_proved", "", "5", "5"), backfilled=2)
    numbers = {name: count for name, count in counters.numbers().items() if count}
    assert numbers == {"gaps": 2, "missing_events": 3, "resumed": 1, "backfilled": 2}
