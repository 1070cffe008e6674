"""The states of a shard and the signals that change them."""

from __future__ import annotations

from bridge.sharding.states import TRANSITIONS, ShardSignal, ShardState


def test_a_shard_that_another_process_has_is_gone_in_every_state_and_none_follows_gone() -> None:
    """The former owner hands nothing to a producer any more."""
    ends = {state for state, signal in TRANSITIONS if signal is ShardSignal.TAKEN_OVER}
    assert ends == set(ShardState) - {ShardState.GONE} == {state for state, _ in TRANSITIONS}
    assert {TRANSITIONS[state, ShardSignal.TAKEN_OVER] for state in ends} == {ShardState.GONE}


def test_a_shard_that_is_read_again_counts_as_owned() -> None:
    assert ShardState.REREADING.public_name == "owned"
