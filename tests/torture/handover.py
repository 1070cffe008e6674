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

ACQUIRING = ("shard_assigned", "claim_written", "shard_restored")
RELEASING = ("releasing", "shard_released")
COMMITTING = ("before_commit", "after_commit")
DELIVERING = ("checkpoint_sent", "after_produce")
ENDS = ("KILL", "STOP")
_LOAD = Load(sessions=16, rate=40.0)
_OCCURRENCES = 3
"""Each replica reaches a point of a shard at least this often: it gets half of eight shards."""

End = Callable[[Fleet, str, Sequence[str]], Replica]


def ended_at_points(place: Place, guarantee: str, times: int) -> Figures:
    """End one of two replicas at each point; the other one takes over its sessions, or it restarts as static member."""
    actions = _actions(guarantee)
    with Run(place, _LOAD, fleet_settings(guarantee)) as run:
        fleet = Fleet(run)
        try:
            fleet.add("a", named=True)
            fleet.wait_read()
            for _ in range(times):
                for point, action in actions.items():
                    for end in ENDS:
                        _end_and_recover(fleet, point, end, action)
            fleet.finish()
            one_reader_at_a_time(fleet)
            done = f"`kill -9` and SIGSTOP at {', '.join(actions)}; {guarantee}"
            figures = run.prove(done, times * len(actions) * len(ENDS), new_epochs=guarantee != EXACTLY_ONCE)
            assert guarantee != EXACTLY_ONCE or (figures.repeats, figures.twice) == (0, 0)
            return figures
        finally:
            fleet.end()


def _actions(guarantee: str) -> dict[str, End]:
    flow = COMMITTING if guarantee == EXACTLY_ONCE else DELIVERING
    groups = ((ACQUIRING, _while_acquiring), (RELEASING, _while_releasing), (flow, _in_the_flow))
    return {point: action for points, action in groups for point in points}


def _end_and_recover(fleet: Fleet, point: str, end: str, action: End) -> None:
    occurrence = fleet.run.chance.randint(1, _OCCURRENCES)
    delay = fleet.run.chance.choice((0.0, 0.005, 0.02)) if point in COMMITTING else 0.0
    options = ("--point", point, "--occurrence", str(occurrence), "--signal", end, "--delay", str(delay))
    print(f"{end} at {point}, occurrence {occurrence}, {delay:g} s later", file=sys.stderr)
    ended = action(fleet, "b", options)
    if end == "STOP":
        _wake_after_timeout(fleet, ended)
    elif action is _in_the_flow:
        ended.start()  # as the same static member
    fleet.wait_read()
    if "b" in {each.name for each in fleet.live}:
        fleet.leave(fleet.replicas["b"])
        fleet.wait_read()


def _while_acquiring(fleet: Fleet, name: str, options: Sequence[str]) -> Replica:
    fleet.add(name, end=options, armed=True, wait=False)
    fleet.wait_end(fleet.replicas[name])
    return fleet.replicas[name]


def _in_the_flow(fleet: Fleet, name: str, options: Sequence[str]) -> Replica:
    replica = fleet.add(name, end=options, named=True)
    fleet.wait_read()
    fleet.wait_end(replica)
    return replica


def _while_releasing(fleet: Fleet, name: str, options: Sequence[str]) -> Replica:
    replica = fleet.add(name, end=options)
    fleet.wait_read()
    fleet.arm(name)
    replica.bridge.send(signal.SIGTERM)
    fleet.wait_end(replica)
    return replica


def _wake_after_timeout(fleet: Fleet, stopped: Replica) -> None:
    """Let the others take over its sessions, then resume the stopped process, which is a zombie now."""
    over = monotonic() + SESSION_TIMEOUT + 1
    fleet.wait_read()
    wait_until(lambda: monotonic() > over, 60)
    fleet.wake(stopped)
