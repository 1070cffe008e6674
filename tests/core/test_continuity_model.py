"""Continuity against a model of servers that evict, restart, repeat, jump and ignore, with crashes at any moment.

What is held to it is told in the terms of a consumer that follows the rule: it keeps the highest (epoch, sequence) and
drops what is not above it.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.mix_model import EARLIEST, Habits, Told, Troubles, World
from tests.support.effort import EXAMPLES

SEEDS = st.integers(0, 2**32)
STEPS = st.integers(5, 120)
ABOUT = ("none", "no id", "counter", "position")
"""The ids that ``connected`` and heartbeats may have."""
STARTS = st.sampled_from(["0", "", EARLIEST])
FORGETFUL = Troubles(evict=3, drop=3, stand=2, restart=3, fresh_ids=True, forgets_history=True)
"""Everything that a server can do to a reader."""

ANY_SERVER = st.builds(
    Habits,
    ids=st.sampled_from(["rising", "sparse", "repeating", "opaque", "between", "none", "per connection"]),
    counts_from=st.sampled_from([1, 1, 0]),
    is_inclusive=st.booleans(),
    answers_id=st.booleans(),
    replay_seconds=st.sampled_from([0.0, 0.0, 5.0, 12.0, 300.0]),
    is_finite=st.sampled_from([False, False, False, True]),
    resumes=st.sampled_from(["truly", "truly", "never", "from its start"]),
    unknown=st.sampled_from(["all", "nothing", "refused"]),
    replays_without_id=st.booleans(),
    connected=st.sampled_from(ABOUT),
    heartbeat=st.sampled_from(ABOUT),
    longest_run=st.sampled_from([2, 4, 300]),
)


def ran(seed: int, steps: int, habits: Habits, troubles: Troubles, **more: Any) -> World:
    """A world that has come to rest."""
    world = World(seed, habits, troubles, **more)
    world.run(steps)
    return world


@pytest.mark.parametrize("ids", ["rising", "sparse", "repeating", "opaque"])
@given(seed=SEEDS, steps=STEPS)
@settings(max_examples=3 * EXAMPLES, deadline=None)
def test_a_true_server_is_read_once_whatever_breaks(ids: Any, seed: int, steps: int) -> None:
    """Cuts and crashes alone: nothing is missing, no number has two meanings, and no loss is told.

    One exception: after a crash before the first event, only an id after the start id proves that none is missing.
    """
    world = ran(seed, steps, Habits(ids=ids), Troubles(cut=8, crash=8), start=EARLIEST if ids == "opaque" else "0")
    assert not world.unseen()
    assert not world.collisions()
    told = [each.lifecycle_event for each in world.log.written if isinstance(each, Told)]
    losses = {each.reason for each in told if each.kind in {"gap", "reset", "unresumable"}}
    assert losses <= ({"not_provable"} if ids in {"sparse", "opaque"} else set())


@given(seed=SEEDS, steps=STEPS, about=st.sampled_from(ABOUT))
@settings(max_examples=3 * EXAMPLES, deadline=None)
def test_ids_that_rise_by_one_cost_no_epoch_and_no_repeat(seed: int, steps: int, about: Any) -> None:
    """Nor do ids of ``connected`` and heartbeats, unless they are taken from the events' own row."""
    world = ran(seed, steps, Habits(connected=about, heartbeat=about), Troubles(cut=8, crash=8))
    accepted = [record for _, record in world.log.accepted()]
    assert not world.unseen()
    if about != "counter":
        assert len({record.epoch for record in accepted}) <= 1
        assert len({record.uid for record in accepted}) == len(accepted)


@given(seed=SEEDS, steps=STEPS, habits=ANY_SERVER, start=STARTS)
@settings(max_examples=20 * EXAMPLES, deadline=None)
def test_nothing_that_could_be_had_is_missed(seed: int, steps: int, habits: Habits, start: str) -> None:
    """Whatever the server does: what it could give at all times arrives."""
    world = ran(seed, steps, habits, FORGETFUL, start=start)
    assert not world.lost(), (world.lost(), world.trace)


@given(seed=SEEDS, steps=STEPS, habits=ANY_SERVER, start=STARTS)
@settings(max_examples=20 * EXAMPLES, deadline=None)
def test_no_number_has_two_meanings(seed: int, steps: int, habits: Habits, start: str) -> None:
    """Over all crashes."""
    world = ran(seed, steps, habits, FORGETFUL, start=start)
    assert not world.collisions(), world.trace


@given(seed=SEEDS, steps=STEPS, habits=ANY_SERVER, start=STARTS)
@settings(max_examples=20 * EXAMPLES, deadline=None)
def test_every_missing_event_is_announced(seed: int, steps: int, habits: Habits, start: str) -> None:
    """Between the events around it there is a ``gap``, a ``reset`` or an ``unresumable``."""
    world = ran(seed, steps, habits, FORGETFUL, start=start)
    assert not world.uncovered(), (world.uncovered(), world.trace, world.log.told)


@given(seed=SEEDS, steps=STEPS, habits=ANY_SERVER, start=STARTS)
@settings(max_examples=5 * EXAMPLES, deadline=None)
def test_reconnects_of_our_own_are_no_more_than_there_were_faults(
    seed: int, steps: int, habits: Habits, start: str
) -> None:
    """No server is asked again and again."""
    world = ran(seed, steps, habits, FORGETFUL, start=start)
    connections = world.server.faults + world.trace.count("cut") + world.trace.count("crash") + 6
    assert world.bridge.reconnects <= 2 * connections
