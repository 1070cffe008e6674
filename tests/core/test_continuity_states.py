"""The table of connection states: every pair of a state and a signal is allowed by the table or refused."""

from __future__ import annotations

import pytest

from bridge.core.stream.states import AWAITING, TRANSITIONS, UNPROVED, Signal, State
from bridge.core.transitions import ForbiddenTransition, follow


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("signal", Signal)
def test_every_pair_has_one_result_or_is_refused(state: State, signal: Signal) -> None:
    """A signal that makes no sense in a state is a bug, and the error names both."""
    if (state, signal) in TRANSITIONS:
        assert follow(TRANSITIONS, state, signal) is TRANSITIONS[state, signal]
    else:
        with pytest.raises(ForbiddenTransition, match=f"{signal.name} in {state.name}"):
            follow(TRANSITIONS, state, signal)


@pytest.mark.parametrize("state", State)
def test_every_connection_can_be_left(state: State) -> None:
    """Only an announced loss outlives its connection."""
    expected = State.ANNOUNCED if state is State.ANNOUNCED else State.CLOSED
    assert TRANSITIONS[state, Signal.LEFT] is expected


def test_every_request_leads_to_following() -> None:
    """Directly, or by a first event that decides."""
    assert TRANSITIONS[State.ANNOUNCED, Signal.OPENED] is State.FOLLOWING
    for state in UNPROVED:
        opened = TRANSITIONS[state, Signal.OPENED]
        assert {TRANSITIONS[opened, each] for each in (Signal.PROVED, Signal.LOST)} == {State.FOLLOWING}


def test_only_states_that_expect_known_events_time_out() -> None:
    """The others wait as long as the stream lasts."""
    assert {state for state, signal in TRANSITIONS if signal is Signal.TIMED_OUT} == AWAITING
