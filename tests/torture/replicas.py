"""Replicas added, removed, killed, paused beyond their session timeout and resumed, under load; with the times."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from bridge.clock import monotonic
from tests.support.waiting import wait_until
from tests.torture.fleet import WAKE_UP_GRACE, Fleet, Replica
from tests.torture.run import Figures, Load, Place, Run
from tests.torture.sight import Sight
from tests.torture.streams import longest_unread, moved_after, together

SESSION_TIMEOUT = 6.0
"""Seconds; the default of 10 s would only make the tests longer."""
_PAUSE = 15.0
_MOST = 4
_NAMES = ("a", "b", "c", "d")
_LOAD = Load(sessions=24, rate=40.0)
"""About 1,000 events a second: two cores carry them with four replicas, their broker and their server."""
_TOGETHER = 1.0
"""Seconds for which two streams of a session may overlap: the server notices an end late."""
_RUSHED = 0.25
"""The share of changes that are followed by the next one before they are complete."""
_TIMED = 3
"""The number of times that each change is measured alone."""
AT_LEAST_ONCE, EXACTLY_ONCE = "at_least_once", "exactly_once"


def fleet_settings(guarantee: str, session_timeout: float = SESSION_TIMEOUT) -> dict[str, object]:
    """Return the settings of every replica."""
    return {
        "kafka.group_session_timeout": f"{session_timeout:g}s",
        "delivery.guarantee": guarantee,
        "topics.shards": 8,
        # A handover does not wait for discovery; four replicas that ask five times a second would slow down the load.
        "servers.local.discover_interval": "2s",
    }


class Change(NamedTuple):
    """One kind of change: the replicas that it applies to, and the action."""

    victims: Callable[[FleetTest], Sequence[Replica]]
    do: Callable[[FleetTest, Replica], None]


@dataclass
class FleetTest:
    """A fleet under changes, a consumer that watches it, and the times. Used by one thread."""

    fleet: Fleet
    sight: Sight
    pause: float = _PAUSE
    done: Counter[str] = field(default_factory=Counter)
    times: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _is_settled: bool = False

    @property
    def run(self) -> Run:
        """The run, with its server and its random numbers."""
        return self.fleet.run

    def change(self, *, rushed: float = _RUSHED) -> None:
        """Make one of the rarest possible changes; with probability ``rushed`` do not wait for its end."""
        possible = {kind: victims for kind, change in CHANGES.items() if (victims := change.victims(self))}
        least = min(self.done[kind] for kind in possible)
        kind = self.run.chance.choice([each for each in possible if self.done[each] == least])
        self.make(kind, self.run.chance.choice(possible[kind]), calm=self.run.chance.random() >= rushed)

    def make(self, kind: str, victim: Replica, *, calm: bool = True) -> None:
        """Make this change; when ``calm``, return once each session is read and flows again, and note the time."""
        is_first, self._is_settled = self._is_settled, False
        self.done[kind] += 1
        at, owner = monotonic(), victim.owner
        print(f"{sum(self.done.values())}. {kind} {owner}{' as itself' * victim.is_named}", file=sys.stderr)
        CHANGES[kind].do(self, victim)
        if not calm:
            self.run.pause(0, 2)
            return
        self.settle()
        took = moved_after(self.fleet.streams(), owner, at)
        if took and is_first and kind != "add":
            self.times[_label(kind, victim)].append(took)

    def settle(self) -> None:
        """Return once each session has one live reader and its events arrive."""
        self.fleet.wait_read()
        now = monotonic()
        sessions = self.fleet.readers()
        wait_until(lambda: all(self.sight.last(each) > now for each in sessions), 60, "events of each session", 0.05)
        self._is_settled = True


def _label(kind: str, victim: Replica) -> str:
    return f"{kind}, with `instance`" if victim.is_named else kind


def _spare(test: FleetTest) -> Sequence[Replica]:
    """Return the live replicas, if there are at least two."""
    return test.fleet.live if len(test.fleet.live) > 1 else ()


def _away(test: FleetTest) -> Sequence[Replica]:
    gone = [each for each in test.fleet.replicas.values() if not each.bridge.running]
    return gone if len(test.fleet.live) < _MOST else ()


def _add(_trial: FleetTest, replica: Replica) -> None:
    replica.start()


def _leave(test: FleetTest, replica: Replica) -> None:
    test.fleet.leave(replica)


def _kill(_trial: FleetTest, replica: Replica) -> None:
    replica.bridge.kill()


def _restart(test: FleetTest, replica: Replica) -> None:
    test.fleet.leave(replica)
    replica.start()


def _revive(_trial: FleetTest, replica: Replica) -> None:
    replica.bridge.kill()
    replica.start()


def _pause(test: FleetTest, replica: Replica) -> None:
    """Pause for longer than the session timeout; with probability ``_RUSHED`` remove another replica meanwhile."""
    test.fleet.pause(replica)
    over = monotonic() + test.pause
    if len(test.fleet.live) > 1 and test.run.chance.random() < _RUSHED:
        test.make(test.run.chance.choice(("leave", "kill")), test.run.chance.choice(test.fleet.live), calm=False)
    wait_until(lambda: monotonic() >= over, test.pause + 60)
    test.fleet.wake(replica)


CHANGES: Mapping[str, Change] = {
    "add": Change(_away, _add),
    "leave": Change(_spare, _leave),
    "kill": Change(_spare, _kill),
    "pause": Change(_spare, _pause),
    "restart": Change(_spare, _restart),
    "revive": Change(_spare, _revive),
}


def changed(place: Place, guarantee: str, changes: int) -> Figures:
    """Make the changes, then a rolling restart without and one with ``instance``; then compare with the journal."""
    with Run(place, _LOAD, fleet_settings(guarantee)) as run:
        fleet = Fleet(run)
        try:
            _start(fleet)
            with Sight(place.kafka, f"{place.namespace}.events") as sight:
                return _judged(_changed(FleetTest(fleet, sight), changes), guarantee)
        finally:
            fleet.end()


def _start(fleet: Fleet) -> None:
    """Start three replicas and prepare a fourth; every second one has ``instance``."""
    for number, name in enumerate(_NAMES):
        fleet.add(name, named=bool(number % 2), wait=False)
    for replica in fleet.replicas.values():
        replica.bridge.wait_listening()
    fleet.wait_read()
    fleet.leave(fleet.replicas[_NAMES[-1]])


def _changed(test: FleetTest, changes: int) -> FleetTest:
    since = monotonic()
    test.settle()
    while sum(test.done.values()) < changes:
        test.change()
        test.fleet.must_live()
    test.settle()
    test.times["longest stop of any session, changes piled up"].append(
        test.sight.longest_stop(since, monotonic()).seconds
    )
    for named in (False, True):
        rolling_restart(test, named=named)
        for _ in range(_TIMED):
            _make_again(test, *(("revive", "restart") if named else ("kill", "leave")))
    return test


def _make_again(test: FleetTest, *kinds: str) -> None:
    """Make and measure each change once; afterwards all three replicas run again."""
    for kind in kinds:
        victim = test.run.chance.choice(test.fleet.live)
        test.make(kind, victim)
        if not victim.is_live:
            test.make("add", victim)


def rolling_restart(test: FleetTest, *, named: bool) -> None:
    """Restart three replicas one after the other and note the longest stop of any session."""
    fleet = test.fleet
    for replica in fleet.live:
        fleet.leave(replica)
    three = [fleet.add(name, named=named) for name in _NAMES[:3]]
    test.settle()
    since = monotonic()
    for replica in three:
        fleet.leave(replica)
        replica.start()
        test.settle()
    until, how = monotonic(), f"rolling restart of three{', with `instance`' * named}"
    stop = test.sight.longest_stop(since, until)
    print(f"{how}: the longest stop was {stop}", file=sys.stderr)
    test.times[f"{how}: longest stop, for a consumer"].append(stop.seconds)
    test.times[f"{how}: longest time without a reader"].append(longest_unread(fleet.streams(), since, until))


def _judged(test: FleetTest, guarantee: str) -> Figures:
    test.fleet.finish()
    overlap = one_reader_at_a_time(test.fleet)
    exactly = guarantee == EXACTLY_ONCE
    words = ", ".join(f"{count} x {kind}" for kind, count in sorted(test.done.items()))
    done = f"3 replicas, {guarantee}: {words}, 2 rolling restarts"
    changes = sum(test.done.values()) + 6
    test.times["two streams of a session at once"].append(overlap)
    print(times_table(test.times), flush=True)
    figures = test.run.prove(done, changes, new_epochs=not exactly)
    if exactly:
        assert (figures.repeats, figures.twice) == (0, 0), "a consumer of committed records got events twice"
    return figures


def one_reader_at_a_time(fleet: Fleet) -> float:
    """Return the longest overlap of two streams of a session, without paused replicas."""
    both = together(fleet.streams(), fleet.pauses, monotonic())
    assert not both or both[0].seconds <= _TOGETHER, (
        f"two readers of one session (paused replicas had {WAKE_UP_GRACE} s): {both[:5]}"
    )
    return both[0].seconds if both else 0.0


def times_table(times: Mapping[str, Sequence[float]]) -> str:
    """Return a table of the times."""
    rows = [
        f"| {what} | {len(each)} | {median(each):.1f} s | {max(each):.1f} s |" for what, each in sorted(times.items())
    ]
    return "\n".join(["| what | times | median | longest |", "|---|---|---|---|", *rows])
