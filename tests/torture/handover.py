"""kill -9 and SIGSTOP at the named points of a hand-over and of a commit, under load."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence

from bridge.clock import monotonic
from tests.support.waiting import wait_until
from tests.torture.fleet import Fleet, Replica
from tests.torture.replicas import EXACTLY_ONCE, SESSION_TIMEOUT, fleet_settings, one_reader_at_a_time
from tests.torture.run import Figures, Load, Place, Run

TAKING = ("shard_assigned", "claim_written", "shard_restored")
GIVING_UP = ("giving_up", "shard_given_up")
COMMITTING = ("before_commit", "after_commit")
DELIVERING = ("checkpoint_sent", "after_produce")
ENDS = ("KILL", "STOP")
_LOAD = Load(sessions=16, rate=40.0)
_PASSAGES = 3
"""A point of a shard is passed this often at least: half of eight shards are one replica's."""

End = Callable[[Fleet, str, Sequence[str]], Replica]


def ended_at_points(place: Place, guarantee: str, times: int) -> Figures:
    """One of two replicas ends at each point; the other one has all it had, or it comes back as itself."""
    ways = _ways(guarantee)
    with Run(place, _LOAD, fleet_settings(guarantee)) as run:
        fleet = Fleet(run)
        try:
            fleet.add("a", named=True)
            fleet.wait_read()
            for _ in range(times):
                for point, way in ways.items():
                    for end in ENDS:
                        _endure(fleet, point, end, way)
            fleet.finish()
            one_reader_at_a_time(fleet)
            done = f"`kill -9` and SIGSTOP at {', '.join(ways)}; {guarantee}"
            figures = run.prove(done, times * len(ways) * len(ENDS), new_epochs=guarantee != EXACTLY_ONCE)
            assert guarantee != EXACTLY_ONCE or (figures.repeats, figures.twice) == (0, 0)
            return figures
        finally:
            fleet.end()


def _ways(guarantee: str) -> dict[str, End]:
    flow = COMMITTING if guarantee == EXACTLY_ONCE else DELIVERING
    groups = ((TAKING, _while_it_takes), (GIVING_UP, _while_it_gives_up), (flow, _in_the_flow))
    return {point: way for points, way in groups for point in points}


def _endure(fleet: Fleet, point: str, end: str, way: End) -> None:
    passage = fleet.run.chance.randint(1, _PASSAGES)
    delay = fleet.run.chance.choice((0.0, 0.005, 0.02)) if point in COMMITTING else 0.0
    options = ("--point", point, "--passage", str(passage), "--signal", end, "--delay", str(delay))
    print(f"{end} at {point}, passage {passage}, {delay:g} s later", file=sys.stderr)
    ended = way(fleet, "b", options)
    if end == "STOP":
        _outlast(fleet, ended)
    elif way is _in_the_flow:
        ended.start()  # as the one it was, at once
    fleet.wait_read()
    if "b" in {each.name for each in fleet.live}:
        fleet.leave(fleet.replicas["b"])
        fleet.wait_read()


def _while_it_takes(fleet: Fleet, name: str, options: Sequence[str]) -> Replica:
    fleet.add(name, end=options, doomed=True, wait=False)
    fleet.meet_end(fleet.replicas[name])
    return fleet.replicas[name]


def _in_the_flow(fleet: Fleet, name: str, options: Sequence[str]) -> Replica:
    replica = fleet.add(name, end=options, named=True)
    fleet.wait_read()
    fleet.meet_end(replica)
    return replica


def _while_it_gives_up(fleet: Fleet, name: str, options: Sequence[str]) -> Replica:
    replica = fleet.add(name, end=options)
    fleet.wait_read()
    fleet.doom(name)
    replica.bridge.send(signal.SIGTERM)
    fleet.meet_end(replica)
    return replica


def _outlast(fleet: Fleet, stopped: Replica) -> None:
    """The others take over what it had; then it wakes, a zombie, and goes on or ends as it was asked to."""
    over = monotonic() + SESSION_TIMEOUT + 1
    fleet.wait_read()
    wait_until(lambda: monotonic() > over, 60)
    fleet.wake(stopped)
