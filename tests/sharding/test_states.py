"""The states of a shard and the signals that change them."""

from __future__ import annotations

import itertools

import pytest

from bridge.core.transitions import ForbiddenTransition
from bridge.sharding.states import TRANSITIONS, ShardSignal, ShardState, next_state


@pytest.mark.parametrize(("state", "signal"), list(itertools.product(ShardState, ShardSignal)))
def test_every_signal_in_every_state_is_in_the_table_or_forbidden(state: ShardState, signal: ShardSignal) -> None:
    """No state follows GONE, and a shard that another process has is gone in every state."""
    if (state, signal) in TRANSITIONS:
        assert state is not ShardState.GONE
        assert next_state(state, signal) is TRANSITIONS[state, signal]
        assert signal is not ShardSignal.TAKEN_OVER or next_state(state, signal) is ShardState.GONE
    else:
        with pytest.raises(ForbiddenTransition):
            next_state(state, signal)


def test_a_shard_that_is_read_again_counts_as_owned() -> None:
    assert ShardState.REREADING.public_name == "owned"
