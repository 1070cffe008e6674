"""Replicas added, removed, killed, paused past their session timeout and woken, under load; and how long it takes."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from bridge.clock import monotonic
from tests.support.waiting import wait_until
from tests.torture.fleet import ZOMBIES_GRACE, Fleet, Replica
from tests.torture.run import Figures, Load, Place, Run
from tests.torture.sight import Sight
from tests.torture.streams import longest_unread, moved_after, together

SESSION_TIMEOUT = 6.0
"""Seconds; the default of 10 s would only make everything longer."""
_PAUSE = 15.0
_MOST = 4
_NAMES = ("a", "b", "c", "d")
_LOAD = Load(sessions=24, rate=40.0)
"""About 1,000 events a second: two cores carry them with four replicas, their broker and their server."""
_TOGETHER = 1.0
"""Seconds that two streams of a session may be open at once: the server sees an end when its loop comes to it."""
_RUSHED = 0.25
"""Of the changes: the next one comes before this one is over."""
_TIMED = 3
"""Times that each change is made for the time it takes alone."""
AT_LEAST_ONCE, EXACTLY_ONCE = "at_least_once", "exactly_once"


def fleet_settings(guarantee: str, session_timeout: float = SESSION_TIMEOUT) -> dict[str, object]:
    """Of every replica."""
    return {
        "kafka.group_session_timeout": f"{session_timeout:g}s",
        "delivery.guarantee": guarantee,
        "topics.shards": 8,
        # A hand-over does not wait for it; four of them asking five times a second cost what the load needs.
        "servers.local.discover_interval": "2s",
    }


class Change(NamedTuple):
    """One kind of change: which replicas it can be done to, and what is done."""

    victims: Callable[[Trial], Sequence[Replica]]
    do: Callable[[Trial, Replica], None]


@dataclass
class Trial:
    """A fleet that is changed, a consumer that looks on, and how long everything took. Used by one thread."""

    fleet: Fleet
    sight: Sight
    pause: float = _PAUSE
    done: Counter[str] = field(default_factory=Counter)
    times: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _is_settled: bool = False

    @property
    def run(self) -> Run:
        """With the server, and with what is decided by chance."""
        return self.fleet.run

    def change(self, *, rushed: float = _RUSHED) -> None:
        """One, of the kinds that are possible one that was done least; with a chance of ``rushed`` nobody waits."""
        possible = {kind: victims for kind, change in CHANGES.items() if (victims := change.victims(self))}
        least = min(self.done[kind] for kind in possible)
        kind = self.run.chance.choice([each for each in possible if self.done[each] == least])
        self.make(kind, self.run.chance.choice(possible[kind]), calm=self.run.chance.random() >= rushed)

    def make(self, kind: str, victim: Replica, *, calm: bool = True) -> None:
        """Change it so; when ``calm``, return once each session is read and flows again, and note how long it took."""
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
        """Return once each session is read by one live replica, and its events come."""
        self.fleet.wait_read()
        now = monotonic()
        sessions = self.fleet.readers()
        wait_until(lambda: all(self.sight.last(each) > now for each in sessions), 60, "events of each session", 0.05)
        self._is_settled = True


def _label(kind: str, victim: Replica) -> str:
    return f"{kind}, with `instance`" if victim.is_named else kind


def _spare(trial: Trial) -> Sequence[Replica]:
    """Those that others can do without."""
    return trial.fleet.live if len(trial.fleet.live) > 1 else ()


def _away(trial: Trial) -> Sequence[Replica]:
    gone = [each for each in trial.fleet.replicas.values() if not each.bridge.running]
    return gone if len(trial.fleet.live) < _MOST else ()


def _add(_trial: Trial, replica: Replica) -> None:
    replica.start()


def _leave(trial: Trial, replica: Replica) -> None:
    trial.fleet.leave(replica)


def _kill(_trial: Trial, replica: Replica) -> None:
    replica.bridge.kill()


def _restart(trial: Trial, replica: Replica) -> None:
    trial.fleet.leave(replica)
    replica.start()


def _revive(_trial: Trial, replica: Replica) -> None:
    replica.bridge.kill()
    replica.start()


def _pause(trial: Trial, replica: Replica) -> None:
    """For longer than the session timeout, and sometimes another one goes meanwhile."""
    trial.fleet.pause(replica)
    over = monotonic() + trial.pause
    if len(trial.fleet.live) > 1 and trial.run.chance.random() < _RUSHED:
        trial.make(trial.run.chance.choice(("leave", "kill")), trial.run.chance.choice(trial.fleet.live), calm=False)
    wait_until(lambda: monotonic() >= over, trial.pause + 60)
    trial.fleet.wake(replica)


CHANGES: Mapping[str, Change] = {
    "add": Change(_away, _add),
    "leave": Change(_spare, _leave),
    "kill": Change(_spare, _kill),
    "pause": Change(_spare, _pause),
    "restart": Change(_spare, _restart),
    "revive": Change(_spare, _revive),
}


def changed(place: Place, guarantee: str, changes: int) -> Figures:
    """So many changes; then a rolling restart without and one with ``instance``; then the judgement."""
    with Run(place, _LOAD, fleet_settings(guarantee)) as run:
        fleet = Fleet(run)
        try:
            _start(fleet)
            with Sight(place.kafka, f"{place.namespace}.events") as sight:
                return _judged(_tried(Trial(fleet, sight), changes), guarantee)
        finally:
            fleet.end()


def _start(fleet: Fleet) -> None:
    """Three that run and one that is to be added; every second with ``instance``."""
    for number, name in enumerate(_NAMES):
        fleet.add(name, named=bool(number % 2), wait=False)
    for replica in fleet.replicas.values():
        replica.bridge.wait_listening()
    fleet.wait_read()
    fleet.leave(fleet.replicas[_NAMES[-1]])


def _tried(trial: Trial, changes: int) -> Trial:
    since = monotonic()
    trial.settle()
    while sum(trial.done.values()) < changes:
        trial.change()
        trial.fleet.must_live()
    trial.settle()
    trial.times["longest stop of any session, changes piled up"].append(
        trial.sight.longest_stop(since, monotonic()).seconds
    )
    for named in (False, True):
        replica_registry(trial, named=named)
        for _ in range(_TIMED):
            _make_again(trial, *(("revive", "restart") if named else ("kill", "leave")))
    return trial


def _make_again(trial: Trial, *kinds: str) -> None:
    """Each of these once, one after the other, for the time it takes; then all three run again."""
    for kind in kinds:
        victim = trial.run.chance.choice(trial.fleet.live)
        trial.make(kind, victim)
        if not victim.is_live:
            trial.make("add", victim)


def replica_registry(trial: Trial, *, named: bool) -> None:
    """A rolling restart of three replicas, and the longest stop of any session meanwhile."""
    fleet = trial.fleet
    for replica in fleet.live:
        fleet.leave(replica)
    three = [fleet.add(name, named=named) for name in _NAMES[:3]]
    trial.settle()
    since = monotonic()
    for replica in three:
        fleet.leave(replica)
        replica.start()
        trial.settle()
    until, how = monotonic(), f"rolling restart of three{', with `instance`' * named}"
    stop = trial.sight.longest_stop(since, until)
    print(f"{how}: the longest stop was {stop}", file=sys.stderr)
    trial.times[f"{how}: longest stop, for a consumer"].append(stop.seconds)
    trial.times[f"{how}: longest time without a reader"].append(longest_unread(fleet.streams(), since, until))


def _judged(trial: Trial, guarantee: str) -> Figures:
    trial.fleet.finish()
    overlap = one_reader_at_a_time(trial.fleet)
    exactly = guarantee == EXACTLY_ONCE
    words = ", ".join(f"{count} x {kind}" for kind, count in sorted(trial.done.items()))
    done = f"3 replicas, {guarantee}: {words}, 2 rolling restarts"
    changes = sum(trial.done.values()) + 6
    trial.times["two streams of a session at once"].append(overlap)
    print(times_table(trial.times), flush=True)
    figures = trial.run.prove(done, changes, new_epochs=not exactly)
    if exactly:
        assert (figures.repeats, figures.twice) == (0, 0), "a consumer that reads what is committed has events twice"
    return figures


def one_reader_at_a_time(fleet: Fleet) -> float:
    """The longest time that two streams of a session were open at once, zombies aside."""
    both = together(fleet.streams(), fleet.stood_still, monotonic())
    assert not both or both[0].seconds <= _TOGETHER, (
        f"two readers of one session (zombies had {ZOMBIES_GRACE} s): {both[:5]}"
    )
    return both[0].seconds if both else 0.0


def times_table(times: Mapping[str, Sequence[float]]) -> str:
    """What took how long."""
    rows = [
        f"| {what} | {len(each)} | {median(each):.1f} s | {max(each):.1f} s |" for what, each in sorted(times.items())
    ]
    return "\n".join(["| what | times | median | longest |", "|---|---|---|---|", *rows])
