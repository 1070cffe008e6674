"""Which sessions of a server run: above ``max_sessions`` idle ones leave their places to others."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.checkpoint_history import Restored
from bridge.core.identity import Position, SessionKey, partition_of
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.stream.overlap import OverlapWindow
from bridge.daemon import server_sessions
from bridge.daemon.restored_checkpoints import RestoredCheckpoints
from bridge.daemon.running_sessions import RunningSessions
from bridge.daemon.server_sessions import OwnedPart, ServerSessions, select
from bridge.daemon.shard_sessions import ShardSessions
from bridge.delivery.lease import Lease
from bridge.mix.listing import DiscoveryRules, SessionSummary, discovered
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


NOW = 1_700_000_000_000
IDS = st.lists(st.sampled_from([f"s{number}" for number in range(12)]))


@pytest.mark.parametrize(
    ("kind", "age_ms", "rules", "passes"),
    [
        ("main", 5, DiscoveryRules(include_subagents=False, created_within=None), True),
        ("subagent", 5, DiscoveryRules(include_subagents=False, created_within=None), False),
        ("subagent", 5, DiscoveryRules(include_subagents=True, created_within=None), True),
        ("main", 60_000, DiscoveryRules(include_subagents=False, created_within=60), True),
        ("main", 60_001, DiscoveryRules(include_subagents=False, created_within=60), False),
        ("main", None, DiscoveryRules(include_subagents=False, created_within=60), True),
        ("main", -5, DiscoveryRules(include_subagents=False, created_within=60), True),
    ],
)
def test_discovery_filters_by_kind_and_age(
    kind: str, age_ms: int | None, rules: DiscoveryRules, *, passes: bool
) -> None:
    """A session of unknown age, or of tomorrow, passes: too much is not a loss."""
    created = None if age_ms is None else NOW - age_ms
    listing = [SessionSummary("s1", kind, created)]
    assert discovered(listing, rules, NOW) == (("s1",) if passes else ())


def test_the_lists_are_merged_in_order_of_precedence() -> None:
    """Running first, then configured, then checkpointed, then listed; each once."""
    found = select(["b", "a"], ["c", "a"], ["d", "r"], running={"r"}, cooling_down=set(), limit=10)
    assert found == (["r", "b", "a", "c", "d"], 0)


@given(
    sources=st.tuples(IDS, IDS, IDS),
    running=st.sets(st.sampled_from(["s1", "s2", "s3"])),
    cooling_down=st.sets(st.sampled_from(["s3", "s4"])),
    limit=st.integers(0, 9),
)
def test_no_session_is_selected_twice_and_each_is_counted(
    sources: tuple[list[str], list[str], list[str]], running: set[str], cooling_down: set[str], limit: int
) -> None:
    """Up to the limit all are chosen, above it they are counted. One that cools down is neither, unless it runs."""
    chosen, left_out = select(*sources, running=running, cooling_down=cooling_down, limit=limit)
    wanted = running | (set(chain(*sources)) - cooling_down)
    assert len(set(chosen)) == len(chosen) == min(limit, len(wanted))
    assert len(chosen) + left_out == len(wanted)
    assert set(chosen) <= wanted
    if limit >= len(running):
        assert running <= set(chosen)


def test_only_the_part_of_a_list_in_owned_shards_is_selected() -> None:
    """Two processes divide the sessions between them; each list is hashed once per set of owned shards."""
    listed, asked = tuple(f"s{number}" for number in range(50)), list[SessionKey]()

    def shard_of(key: SessionKey) -> int:
        asked.append(key)
        return partition_of(key.record_key, 8)

    part = OwnedPart("local", shard_of)
    left, right = part.of("listed", listed, {0, 1, 2}), part.of("other", listed, {3, 4, 5, 6, 7})
    assert {*left, *right} == set(listed)
    assert not {*left} & {*right}
    assert len(asked) == 100
    assert part.of("listed", listed, {0, 1, 2}) == left
    assert len(asked) == 100
    assert part.of("listed", listed, set(range(8))) == listed
    assert part.of("listed", ("s1",), set(range(8))) == ("s1",)
