"""What is told of shards that take long: how far they are, which are held up, and why."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from bridge.core.checkpoint_log import CheckpointLog
from bridge.core.records.claim import Claim
from bridge.sharding import read_state as shard_state
from bridge.sharding.read_state import Delays, ShardState, Taken


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Of the module alone."""
    ours = Clock()
    monkeypatch.setattr(shard_state, "monotonic", ours)
    return ours


def nobody(_taken: Taken) -> None:
    """Is told."""


def test_progress_is_said_every_five_seconds_and_trouble_once_in_ten_minutes(clock: Clock) -> None:
    """A shard that moves is in progress, one that does not is held up, until it is over."""
    delays = Delays("checkpoints", 30.0, lambda number, _shard: f"why {number}")
    claim = Claim("host:1", "n", 2, "f00", 0)
    stuck, moving, done = (
        ShardState(claim, nobody, 0, CheckpointLog(3) if is_open else None, [], moved=clock.now, records=7)
        for is_open in (True, True, False)
    )
    shards = {0: stuck, 1: moving, 2: done}
    with capture_logs() as said:
        for _ in range(700):
            clock.now += 1.0
            moving.moved = clock.now
            delays.look(shards)
    progress = [line for line in said if line["event"] == "reading checkpoints"]
    trouble = [line for line in said if line["log_level"] == "error"]
    assert 100 < len(progress) < 140
    assert (progress[0]["shards"], progress[0]["records"]) == ([0, 1], 14)
    assert progress[-1]["shards"] == [1]
    assert [(line["shard"], line["why"]) for line in trouble] == [(0, "why 0"), (0, "why 0")]
    assert delays.held_up == {0: "why 0"}
    with capture_logs() as said:
        delays.over(1, moving)
        assert not said
        delays.over(0, stuck)
    assert not delays.held_up
    assert [line["event"] for line in said] == ["a shard is no longer held up"]


def test_a_restore_that_takes_no_five_seconds_is_not_spoken_of(clock: Clock) -> None:
    """However long nothing was taken before."""
    delays = Delays("checkpoints", 30.0, lambda _number, _shard: "")
    with capture_logs() as said:
        for _ in range(20):
            clock.now += 1.0
            delays.look({})
        clock.now += 4.0
        delays.look({0: ShardState(Claim("h", "n", 1, "f", 0), nobody, 0, CheckpointLog(1), [], moved=clock.now)})
    assert not said
