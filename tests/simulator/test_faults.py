"""Faults of the simulated server as values: how they are asked for, how long they last, which row chance makes."""

from __future__ import annotations

import json
from itertools import islice

import pytest

from bridge.simulator.faults.kinds import KINDS, Cut, Evict, HoldFault, Ids, ImmediateFault, Refuse, Silence
from bridge.simulator.faults.registry import FaultRecord, FaultRegistry
from bridge.simulator.faults.requests import FaultRequest
from bridge.simulator.faults.schedule import Chaos, parse_schedule


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> list[FaultRecord]:
    return []


@pytest.fixture
def book(clock: Clock, told: list[FaultRecord]) -> FaultRegistry:
    return FaultRegistry(clock, lambda: 0.0, told.append)


# --- orders


@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_goes_through_json_and_back(kind):
    """With the fields it has, and a sentence for people."""
    own = {"after": 3} if kind == "cut" else {}
    order = FaultRequest.from_json({"kind": kind, **own, "seconds": 1})
    assert FaultRequest.from_json(json.loads(json.dumps(order.to_json()))) == order
    assert order.fault.describe()


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
def test_a_wrong_order_says_what_is_wrong(asked, word):
    """By the name of the field."""
    with pytest.raises(ValueError, match=word):
        FaultRequest.from_json(asked)


# --- the book


def test_a_condition_meets_so_many_and_no_more(book, told):
    """Then it is spent, until it is cleared; both are told."""
    book.begin(FaultRequest(Silence(), times=2))
    assert [book.hit(HoldFault, "a") is not None for _ in range(3)] == [True, True, False]
    assert [each.state for each in told] == ["active", "spent"]
    assert book.clear() == 1
    assert [each.state for each in book.records()] == ["over"]


def test_a_condition_ends_after_its_seconds(book, clock):
    """``expire`` ends what is due and says when to look again."""
    book.begin(FaultRequest(Silence(), seconds=5))
    book.begin(FaultRequest(Ids(), seconds=7))
    assert book.expire() == 5
    clock.now += 5
    assert book.expire() == 2
    assert book.hit(HoldFault, "a") is None
    assert book.hit(Ids, "a") is not None
    clock.now += 2
    assert book.expire() is None
    assert book.is_empty


def test_only_its_place_and_its_session(book):
    """Others do not meet it; of several the oldest counts; what a caller does not want is left."""
    first = book.begin(FaultRequest(Cut(after=1), session="a"))
    second = book.begin(FaultRequest(Cut(after=2)))
    assert book.hit(HoldFault, "a") is None
    assert book.hit(Cut, "b") is second
    assert book.hit(Cut, "a") is first
    assert book.hit(Cut, "a", lambda entry: entry is not first) is second
    assert book.find(Cut, None) is second


def test_each_change_is_seen(book):
    """By another version and by a call; a deed is over at once."""
    calls: list[int] = []
    book.watch(lambda: calls.append(book.version))
    condition = book.begin(FaultRequest(Silence()))
    deed = book.begin(FaultRequest(Evict()))
    assert deed.is_over
    book.clear(condition.number)
    book.clear()
    assert calls == [1, 2, 3]


def test_what_could_not_happen_is_told(book, told):
    """With the reason."""
    book.fail(FaultRequest(Evict()), "no such session")
    assert (told[0].state, told[0].description.endswith("no such session")) == ("failed", True)
    assert json.dumps(told[0].to_json())


# --- schedules


def test_a_schedule_is_put_in_order():
    """By time."""
    listed = [{"at": 2, "fault": {"kind": "evict"}}, {"at": 1.5, "fault": {"kind": "silence", "seconds": 1}}]
    assert [(due.at, due.request.fault.kind) for due in parse_schedule(json.dumps(listed))] == [
        (1.5, "silence"),
        (2, "evict"),
    ]


@pytest.mark.parametrize(
    "text", ["{}", "[1]", '[{"at": "x", "fault": {}}]', '[{"at": 1, "fault": {"kind": "x"}}]', "x"]
)
def test_a_wrong_schedule_is_refused(text):
    """Whatever is wrong with it."""
    with pytest.raises(ValueError, match=r".+"):
        parse_schedule(text)


def test_a_seed_repeats_its_chaos():
    """The same row of the same faults; another seed another one."""
    row = list(islice(Chaos(3, 2.0).faults(), 200))
    assert row == list(islice(Chaos(3, 2.0).faults(), 200))
    assert row != list(islice(Chaos(4, 2.0).faults(), 200))
    assert 300 < row[-1].at < 500


def test_chaos_is_harmless_to_the_truth():
    """Nothing that takes events from who asks again; nothing that lasts for ever; all can be told and asked for."""
    kinds = set()
    for due in islice(Chaos(1).faults(), 1000):
        order = due.request
        kinds.add(order.fault.kind)
        assert FaultRequest.from_json(order.to_json()) == order
        assert isinstance(order.fault, ImmediateFault) or order.times or order.seconds
    assert kinds.isdisjoint({"evict", "drop", "skip", "jump", "ids", "replay", "own_ids"})
    assert len(kinds) > 10


@pytest.mark.parametrize(("text", "expected"), [("7", Chaos(7)), ("7:0.5", Chaos(7, 0.5))])
def test_chaos_on_the_command_line(text, expected):
    """A seed, and perhaps an interval."""
    assert Chaos.parse(text) == expected


@pytest.mark.parametrize("text", ["", "x", "1:", "1:0", "1:inf", "1:nan"])
def test_wrong_chaos_is_refused(text):
    """With a message."""
    with pytest.raises(ValueError, match=r".+"):
        Chaos.parse(text)


def test_refused_connections_always_end():
    """Nobody could reach the server to end it."""
    with pytest.raises(ValueError, match="seconds"):
        FaultRequest(Refuse("close"), times=3)
    assert FaultRequest(Refuse("reset"), times=3)
