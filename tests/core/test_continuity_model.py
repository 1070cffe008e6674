"""Continuity against a model of servers that evict, restart, repeat, jump and ignore, with crashes at any moment.

The judge is a consumer that follows the rule: it keeps the highest (epoch, sequence) and drops all others.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from bridge.core.stream.states import AWAITING, TRANSITIONS, UNPROVED, Signal, State
from bridge.core.transitions import ForbiddenTransition, follow
from tests.fakes.mix_model import EARLIEST, Faults, LifecycleRecord, Record, Traits, World
from tests.support.effort import EXAMPLES

SEEDS = st.integers(0, 2**32)
STEPS = st.integers(5, 120)
SHARED_IDS = Traits(ids="repeating", replay_seconds=5.0, connected="no id", knows_below=False, replays_without_id=False)
NAMELESS_FIRST = Traits(
    ids="between", answers_id=True, replay_seconds=12.0, unknown="refused", knows_below=False, replays_without_id=False,
    connected="no id",
)  # fmt: skip
CONNECTION_IDS = ("none", "no id", "counter", "position")
"""The ids that ``connected`` and heartbeats may have."""
STARTS = st.sampled_from(["0", "", EARLIEST])
FORGETFUL = Faults(evict=3, drop=3, stall=2, restart=3, fresh_ids=True, forgets_history=True)
"""All faults of a server."""

ANY_SERVER = st.builds(
    Traits,
    ids=st.sampled_from(["rising", "sparse", "repeating", "opaque", "between", "none", "per connection"]),
    counts_from=st.sampled_from([1, 1, 0]),
    is_inclusive=st.booleans(),
    answers_id=st.booleans(),
    replay_seconds=st.sampled_from([0.0, 0.0, 5.0, 12.0, 300.0]),
    is_finite=st.sampled_from([False, False, False, True]),
    resumes=st.sampled_from(["truly", "truly", "never", "from its start"]),
    unknown=st.sampled_from(["all", "nothing", "refused"]),
    knows_below=st.booleans(),
    replays_without_id=st.booleans(),
    connected=st.sampled_from(CONNECTION_IDS),
    heartbeat=st.sampled_from(CONNECTION_IDS),
    longest_run=st.sampled_from([2, 4, 300]),
)


def ran(seed: int, steps: int, traits: Traits, faults: Faults, **more: Any) -> World:
    """A world after all its steps, in which nothing changes any more."""
    world = World(seed, traits, faults, **more)
    world.run(steps)
    return world


@pytest.mark.parametrize("ids", ["rising", "sparse", "repeating", "opaque"])
@given(seed=SEEDS, steps=STEPS)
@settings(max_examples=3 * EXAMPLES, deadline=None)
def test_a_server_that_replays_is_read_without_loss(ids: Any, seed: int, steps: int) -> None:
    """With cuts and crashes only: nothing is missing, no number has two meanings, and no loss is announced.

    One exception: where a connection ends before the first event, only other sessions prove that none is missing.
    """
    start = EARLIEST if ids == "opaque" else "0"
    world = ran(seed, steps, Traits(ids=ids), Faults(cut=8, crash=8), start=start, is_fast=True)
    assert not world.unseen()
    assert not world.collisions()
    announced = [each.lifecycle_event for each in world.log.written if isinstance(each, LifecycleRecord)]
    losses = {each.reason for each in announced if each.kind in {"gap", "reset", "unresumable"}}
    assert losses <= {"not_provable"}


@given(seed=SEEDS, steps=STEPS, connection_ids=st.sampled_from(CONNECTION_IDS))
@settings(max_examples=3 * EXAMPLES, deadline=None)
def test_ids_that_rise_by_one_cost_no_epoch_and_no_repeat(seed: int, steps: int, connection_ids: Any) -> None:
    """Ids of ``connected`` and heartbeats do not either, unless they use the sequence of the events."""
    traits = Traits(connected=connection_ids, heartbeat=connection_ids)
    world = ran(seed, steps, traits, Faults(cut=8, crash=8), is_fast=True)
    accepted = [record for _, record in world.log.accepted()]
    assert not world.unseen()
    if connection_ids != "counter":
        assert len({record.epoch for record in accepted}) <= 1
        assert len({record.uid for record in accepted}) == len(accepted)


@given(seed=SEEDS, steps=STEPS, traits=ANY_SERVER, start=STARTS)
@example(
    seed=25910400,
    steps=52,
    traits=Traits(ids="opaque", is_inclusive=True, answers_id=True, is_finite=True, unknown="nothing"),
    start=EARLIEST,
)
@example(
    seed=542029251,
    steps=53,
    traits=Traits(ids="between", counts_from=0, replay_seconds=5.0, unknown="refused", connected="no id"),
    start="0",
)
@example(seed=16008380, steps=30, traits=Traits(counts_from=0, knows_below=False, longest_run=300), start="0")
@example(seed=220320909, steps=70, traits=NAMELESS_FIRST, start="0")
@example(seed=93, steps=41, traits=Traits(ids="between", replays_without_id=False, longest_run=2), start=EARLIEST)
@example(
    seed=165446966,
    steps=39,
    traits=Traits(
        counts_from=0,
        replay_seconds=12.0,
        is_finite=True,
        unknown="refused",
        knows_below=False,
        replays_without_id=False,
        connected="no id",
        longest_run=2,
    ),
    start="0",
)
@example(
    seed=1717941942,
    steps=66,
    traits=Traits(
        ids="repeating", counts_from=0, answers_id=True, connected="no id", heartbeat="position", longest_run=2
    ),
    start="0",
)
@example(seed=54, steps=10, traits=Traits(counts_from=0), start="0")
@example(seed=71, steps=19, traits=SHARED_IDS, start="0")
@settings(max_examples=20 * EXAMPLES, deadline=None)
def test_whatever_a_server_does_every_event_that_it_can_send_arrives_once_or_is_announced(
    seed: int, steps: int, traits: Traits, start: str
) -> None:
    """Across all crashes: no number has two meanings, and no server gets requests without end.

    Each event that the server could always send arrives. Where others are missing there is a ``gap``, a ``reset`` or an
    ``unresumable`` between the events around them.
    """
    world = ran(seed, steps, traits, FORGETFUL, start=start)
    if world.double_failures:
        event("a double failure: the bridge and the server lost the same events")
    assert not world.lost(), (world.lost(), world.trace)
    assert not world.collisions(), world.trace
    assert not world.uncovered(), (world.uncovered(), world.trace, world.log.announced)
    connections = world.server.faults + world.trace.count("cut") + world.trace.count("crash") + 6
    assert world.bridge.reconnects <= 2 * connections


@given(seed=SEEDS, steps=STEPS, traits=ANY_SERVER, start=STARTS)
@settings(max_examples=5 * EXAMPLES, deadline=None)
def test_cuts_alone_repeat_little(seed: int, steps: int, traits: Traits, start: str) -> None:
    """Known events are recognised.

    Exceptions: finite streams with events without ids before the first id, as docs/sources.md says, and servers that
    refuse the start id.
    """
    world = ran(seed, steps, traits, Faults(cut=8, crash=0), start=start)
    records = [each for each in world.log.written if isinstance(each, Record)]
    has_ids = traits.ids != "none" and not (traits.ids == "between" and traits.is_finite)
    if has_ids and traits.unknown != "refused":
        assert len(records) <= 3 * world.server.appended


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
