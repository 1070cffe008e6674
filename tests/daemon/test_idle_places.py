"""More sessions than ``max_sessions``: idle ones give their places to others, and no active one waits for ever."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bridge.core.checkpoint_history import Restored
from bridge.core.identity import Position, SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.stream.overlap import OverlapWindow
from bridge.daemon import server_sessions
from bridge.daemon.restored_checkpoints import RestoredCheckpoints
from bridge.daemon.running_sessions import RunningSessions
from bridge.daemon.server_sessions import ServerSessions
from bridge.daemon.shard_sessions import ShardSessions
from bridge.delivery.lease import Lease
from tests.fakes.sources import source

HOUR = 3600.0


def names(numbers: Iterable[int]) -> list[str]:
    return [f"s{number}" for number in numbers]


class Prover:
    """Never asked here."""

    proven_at = 0.0

    def ask(self) -> None:
        """Do nothing."""

    def prove(self, *_: Any) -> bool:
        return True


class Fleet:
    """A server with many sessions, and a process with few places. Time passes when the test says so."""

    def __init__(self, monkeypatch: Any, listed: list[str], places: int, **more: Any) -> None:
        self.now = 1000.0
        monkeypatch.setattr(server_sessions, "monotonic", lambda: self.now)
        of = source("http://localhost:9", max_sessions=places, **more)
        delivery: Any = None
        self.shards = ShardSessions(1, delivery, RunningSessions(["local"]), RestoredCheckpoints({}))
        self.shards.acquire(Lease(0, Prover()), {})
        self.server = ServerSessions(of, self.shards, lambda: None)
        self.places = places
        self.running: dict[str, float] = {}
        """By session: its last event or its start."""
        self.seen: dict[str, int] = {}
        """By session: the number of events that were read."""
        self.events = dict.fromkeys(listed, 0)
        self.poll(listed)

    def poll(self, listed: list[str] | None = None) -> None:
        """List the sessions, the newest first."""
        discovery = self.server.discovery
        if listed is not None:
            discovery.listed, discovery.all_listed = tuple(listed), frozenset(listed)
        discovery.marks = dict(self.events)

    def tick(self) -> None:
        """Start and stop sessions; a stopped one is gone at the next tick."""
        for key in self.server.to_start(set(self.running)):
            self.running[key.session_id] = self.now
        assert len(self.running) <= self.places
        self.read()
        stopped = self.server.to_stop(self.running.items())
        for each in stopped:
            del self.running[each]
            key, read = SessionKey("local", each), self.seen[each]
            window = OverlapWindow.starting(str(read))
            one = Checkpoint(key, Position(1, read, str(read)), "active", 0, "", window)
            self.shards.checkpoints.put(0, key, Restored(one, is_stale=False))

    def read(self) -> None:
        """Every running session has read what its server has."""
        for each in self.running:
            if self.seen.get(each) != self.events[each]:
                self.seen[each] = self.events[each]
                self.running[each] = self.now

    def publish(self, sessions: Iterable[str]) -> None:
        """One more event in each of these."""
        for each in sessions:
            self.events[each] += 1


def test_a_hundred_active_sessions_of_20_000_are_all_bridged(monkeypatch: Any) -> None:
    """With 5,000 places. Without ``idle_after`` those that are listed last would never run."""
    listed = names(range(20_000))
    fleet = Fleet(monkeypatch, listed, 5000, idle_after="1h")
    active = listed[::200]
    for _ in range(10):
        fleet.publish(active)
        fleet.poll()
        for _ in range(6):
            fleet.tick()
        fleet.now += 0.6 * HOUR
    assert set(fleet.seen) == set(listed), "each session was bridged"
    assert set(active) <= set(fleet.running), "an active session keeps its place"
    fleet.now += 2 * HOUR
    resting = [each for each in listed if each not in fleet.running][:2]
    fleet.publish(resting)
    fleet.poll()
    for _ in range(3):
        fleet.tick()
    assert [fleet.seen[each] for each in resting] == [1, 1], "an entry that changes brings its session back"


def test_a_new_session_gets_the_place_of_the_longest_idle_one(monkeypatch: Any) -> None:
    """Not the one of a session with events, nor of a configured one."""
    fleet = Fleet(monkeypatch, names(range(4)), 4, idle_after="1h", sessions=["s0"])
    fleet.tick()
    fleet.now += 2 * HOUR
    fleet.publish(["s2"])
    fleet.running["s3"] += HOUR / 2
    fleet.tick()
    assert {*fleet.running} == {*names(range(4))}, "nobody needs a place"
    fleet.events["new"] = 0
    fleet.poll(["new", *names(range(4))])
    fleet.tick()
    fleet.tick()
    assert {*fleet.running} == {"s0", "s2", "s3", "new"}
    del fleet.running["new"]
    fleet.events.pop("new")
    fleet.poll(names(range(4)))
    fleet.tick()
    assert {*fleet.running} == {*names(range(4))}, "a place is free"


def test_without_idle_after_nobody_gives_a_place(monkeypatch: Any) -> None:
    """The rest is counted as not bridged."""
    fleet = Fleet(monkeypatch, names(range(9)), 4)
    fleet.tick()
    first = {*fleet.running}
    fleet.now += 100 * HOUR
    fleet.tick()
    fleet.tick()
    assert {*fleet.running} == first
