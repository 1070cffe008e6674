"""The table of a session's states, each state with each signal, and the counters of its stream."""

from __future__ import annotations

import itertools
from dataclasses import fields

import pytest

from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.snapshot import Counters
from bridge.core.transitions import ForbiddenTransition
from bridge.daemon.session_log import SessionCounters
from bridge.daemon.session_states import FINAL, TRANSITIONS, Signal, State, next_state


@pytest.mark.parametrize(("state", "signal"), list(itertools.product(State, Signal)))
def test_every_signal_in_every_state_is_allowed_or_an_error(state: State, signal: Signal) -> None:
    """What the table does not contain is a bug, and the error names state and signal."""
    if (state, signal) in TRANSITIONS:
        assert next_state(state, signal) is TRANSITIONS[state, signal]
    else:
        with pytest.raises(ForbiddenTransition, match=f"{signal.name} in {state.name}"):
            next_state(state, signal)


@pytest.mark.parametrize("state", list(State))
def test_a_final_state_has_no_transition_and_a_stop_ends_every_other_state(state: State) -> None:
    """A running worker can be stopped, and ends by a bug."""
    leaving = {signal for (left, signal) in TRANSITIONS if left is state}
    if state in FINAL:
        assert not leaving
    else:
        assert next_state(state, Signal.STOP) is State.STOPPED
        assert next_state(state, Signal.BUG) is State.CRASHED


def test_every_state_can_be_reached() -> None:
    """The first state is CONNECTING."""
    reached = {State.CONNECTING}
    while more := {after for (state, _), after in TRANSITIONS.items() if state in reached} - reached:
        reached |= more
    assert reached == set(State)


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
