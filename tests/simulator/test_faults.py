"""Faults of the simulated server as values: their JSON, how long they last, and the random sequence."""

from __future__ import annotations

import json
from itertools import islice

import pytest

from bridge.simulator.faults.kinds import (
    KINDS,
    Cut,
    Evict,
    Fault,
    HoldFault,
    ImmediateFault,
    Refuse,
    Silence,
    parse_fault,
)
from bridge.simulator.faults.registry import FaultRecord, FaultRegistry
from bridge.simulator.faults.schedule import Chaos, parse_schedule


@pytest.fixture
def reports() -> list[FaultRecord[Fault]]:
    return []


@pytest.fixture
def registry(reports: list[FaultRecord[Fault]]) -> FaultRegistry:
    return FaultRegistry(reports.append)


# --- requests


@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_goes_through_json_and_back(kind):
    own = {"after": 3} if kind == "cut" else {}
    request = parse_fault({"kind": kind, **own, "seconds": 1})
    assert parse_fault(json.loads(json.dumps(request.to_json()))) == request
    assert request.describe()


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({}, "kind is one of"),
        ({"kind": "cutt"}, "kind is one of"),
        ({"kind": ["cut"]}, "kind is one of"),
        ({"kind": "cut"}, "either after or into_event"),
        ({"kind": "cut", "after": 1, "into_event": 1}, "either after or into_event"),
        ({"kind": "cut", "after": -1}, "after"),
        ({"kind": "cut", "aftr": 1}, "aftr is unknown"),
        ({"kind": "cut", "after": 1, "how": "gently"}, "how"),
        ({"kind": "silence", "seconds": 0}, "seconds"),
        ({"kind": "silence", "seconds": float("inf")}, "seconds"),
        ({"kind": "silence", "times": 0}, "times"),
        ({"kind": "refuse"}, "refuse needs seconds"),
        ({"kind": "refuse", "how": "close", "times": 1}, "refuse needs seconds"),
        ({"kind": "poison", "poison": "arsenic"}, "bad_utf8"),
        ({"kind": "status", "status": 99}, "status"),
    ],
)
def test_the_error_names_the_wrong_field(asked, word):
    with pytest.raises(ValueError, match=word):
        parse_fault(asked)


# --- the registry


def test_a_fault_applies_this_many_times_and_is_then_spent(registry, reports):
    registry.begin(Silence(times=2))
    assert [registry.hit(HoldFault, "a") is not None for _ in range(3)] == [True, True, False]
    assert [each.state for each in reports] == ["active", "spent"]
    assert registry.clear() == 1
    assert [each.state for each in registry.records()] == ["over"]


def test_the_oldest_fault_of_a_kind_applies_to_its_session(registry):
    first = registry.begin(Cut(after=1, session="a"))
    second = registry.begin(Cut(after=2))
    assert registry.hit(HoldFault, "a") is None
    assert registry.hit(Cut, "b") is second
    assert registry.hit(Cut, "a") is first
    assert registry.hit(Cut, "a", lambda entry: entry is not first) is second
    assert registry.find(Cut, None) is second


def test_each_change_raises_the_version_and_calls_the_watchers(registry):
    calls: list[int] = []
    registry.watch(lambda: calls.append(registry.version))
    lasting = registry.begin(Silence())
    immediate = registry.begin(Evict())
    assert immediate.is_over
    registry.clear(lasting.number)
    registry.clear()
    assert calls == [1, 2, 3]


def test_a_fault_that_could_not_happen_is_reported_with_the_reason(registry, reports):
    registry.fail(Evict(), "no such session")
    assert (reports[0].state, reports[0].description.endswith("no such session")) == ("failed", True)
    assert json.dumps(reports[0].to_json())


# --- schedules


def test_a_schedule_is_sorted_by_time():
    listed = [{"at": 2, "fault": {"kind": "evict"}}, {"at": 1.5, "fault": {"kind": "silence", "seconds": 1}}]
    assert [(due.at, due.fault.kind) for due in parse_schedule(json.dumps(listed))] == [
        (1.5, "silence"),
        (2, "evict"),
    ]


@pytest.mark.parametrize(
    "text", ["{}", "[1]", '[{"at": "x", "fault": {}}]', '[{"at": 1, "fault": {"kind": "x"}}]', "x"]
)
def test_a_wrong_schedule_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_schedule(text)


def test_a_seed_repeats_its_random_faults():
    row = list(islice(Chaos(3, 2.0).faults(), 200))
    assert row == list(islice(Chaos(3, 2.0).faults(), 200))
    assert row != list(islice(Chaos(4, 2.0).faults(), 200))
    assert 300 < row[-1].at < 500


def test_random_faults_end_and_lose_no_events():
    kinds = set()
    for due in islice(Chaos(1).faults(), 1000):
        request = due.fault
        kinds.add(request.kind)
        assert parse_fault(request.to_json()) == request
        assert isinstance(request, ImmediateFault) or request.times or request.seconds
    assert kinds.isdisjoint({"evict", "drop", "skip", "jump", "ids", "replay", "own_ids"})
    assert len(kinds) > 10


@pytest.mark.parametrize(("text", "expected"), [("7", Chaos(7)), ("7:0.5", Chaos(7, 0.5))])
def test_chaos_on_the_command_line(text, expected):
    assert Chaos.parse(text) == expected


@pytest.mark.parametrize("text", ["", "x", "1:", "1:0", "1:inf", "1:nan"])
def test_wrong_chaos_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        Chaos.parse(text)


def test_refused_connections_need_an_end():
    """No client could reach the server to clear the fault."""
    with pytest.raises(ValueError, match="seconds"):
        Refuse(how="close", times=3)
    assert Refuse(how="reset", times=3)
