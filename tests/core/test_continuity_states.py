"""The table of connection states: every pair of a state and a signal is allowed by the table or refused."""

from __future__ import annotations

import pytest

from bridge.core.stream.states import AWAITING, REQUESTED, TRANSITIONS, Signal, State, next_state
from bridge.core.transitions import ForbiddenTransition


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("signal", Signal)
def test_every_pair_has_one_result_or_is_refused(state: State, signal: Signal) -> None:
    """A signal that makes no sense in a state is a bug."""
    if (state, signal) in TRANSITIONS:
        assert next_state(state, signal) is TRANSITIONS[state, signal]
    else:
        with pytest.raises(ForbiddenTransition, match=f"{signal.name} in {state.name}"):
            next_state(state, signal)


@pytest.mark.parametrize("state", State)
def test_every_connection_can_be_left(state: State) -> None:
    """Only an announced loss outlives its connection."""
    expected = State.ANNOUNCED if state is State.ANNOUNCED else State.CLOSED
    assert next_state(state, Signal.LEFT) is expected


@pytest.mark.parametrize("state", REQUESTED)
def test_every_request_leads_to_following(state: State) -> None:
    """Directly, or by a first event that decides."""
    opened = next_state(state, Signal.OPENED)
    after = (
        {opened} if opened is State.FOLLOWING else {next_state(opened, each) for each in (Signal.PROVED, Signal.LOST)}
    )
    assert after == {State.FOLLOWING}


def test_only_states_that_expect_known_events_time_out() -> None:
    """The others wait as long as the stream lasts."""
    assert {state for state, signal in TRANSITIONS if signal is Signal.TIMED_OUT} == AWAITING
