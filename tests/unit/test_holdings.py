"""Which shards a member has: given, given up in time or not, lost, and the end."""

from __future__ import annotations

import threading

from bridge.kafka.holdings import Holdings

WITHIN = 30.0


class Told:
    """What the listener was told, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, list[int]]] = []
        self.released: list[threading.Event] = []

    def assigned(self, shards: frozenset[int]) -> None:
        self.heard.append(("assigned", sorted(shards)))

    def revoked(self, shards: frozenset[int]) -> threading.Event:
        self.heard.append(("revoked", sorted(shards)))
        self.released.append(threading.Event())
        return self.released[-1]

    def lost(self, shards: frozenset[int]) -> None:
        self.heard.append(("lost", sorted(shards)))


def with_shards(*shards: int) -> tuple[Holdings, Told]:
    told = Told()
    holdings = Holdings(told, WITHIN)
    holdings.gain(frozenset(shards))
    told.heard.clear()
    return holdings, told


def test_shards_are_owned_until_they_are_given_up() -> None:
    holdings, told = with_shards(0, 1, 2)
    assert holdings.give_up(frozenset({0, 1}), 100.0)
    assert holdings.is_giving_up
    assert holdings.let_go(100.0) == []
    assert holdings.owned == {0, 1, 2}
    told.released[0].set()
    assert holdings.let_go(101.0) == [frozenset({0, 1})]
    assert holdings.owned == {2}
    assert told.heard == [("revoked", [0, 1])]
    assert not holdings.is_giving_up


def test_past_the_deadline_they_are_lost_and_go() -> None:
    holdings, told = with_shards(0, 1)
    holdings.give_up(frozenset({0}), 100.0)
    assert holdings.let_go(100.0 + WITHIN - 0.1) == []
    assert holdings.let_go(100.0 + WITHIN) == [frozenset({0})]
    assert told.heard == [("revoked", [0]), ("lost", [0])]
    assert holdings.owned == {1}


def test_what_is_lost_while_it_is_given_up_goes_at_once() -> None:
    holdings, told = with_shards(0, 1)
    holdings.give_up(frozenset({0}), 100.0)
    holdings.lose(frozenset({0, 1}))
    assert holdings.let_go(100.0) == [frozenset({0})]
    assert told.heard == [("revoked", [0]), ("lost", [0, 1])]


def test_partitions_that_are_no_shards_go_at_once_or_with_those_that_are() -> None:
    holdings, told = with_shards(0)
    assert not holdings.give_up(frozenset({4}), 100.0)
    assert holdings.give_up(frozenset({0, 4}), 100.0)
    told.released[0].set()
    assert holdings.let_go(100.0) == [frozenset({0, 4})]


def test_an_empty_assignment_is_told_and_a_loss_of_nothing_is_not() -> None:
    """It says that whatever was lost before is somebody else's."""
    holdings, told = with_shards(0)
    holdings.gain(frozenset())
    holdings.lose(frozenset({1}))
    assert told.heard == [("assigned", [])]


def test_at_the_end_the_listener_is_asked_once_for_everything_that_is_left() -> None:
    """What the group asks back meanwhile waits for the same release; nothing is taken any more."""
    holdings, told = with_shards(0, 1, 2)
    holdings.give_up(frozenset({0}), 100.0)
    holdings.begin_end(101.0)
    assert told.heard == [("revoked", [0]), ("revoked", [1, 2])]
    assert holdings.give_up(frozenset({1}), 102.0)
    holdings.gain(frozenset({3}))
    assert not holdings.is_at_end(102.0)
    for released in told.released:
        released.set()
    assert sorted(map(sorted, holdings.let_go(103.0))) == [[0], [1]]
    assert holdings.is_at_end(103.0)
    assert holdings.owned == {2}  # until its last word is written
    holdings.close()
    assert holdings.owned == frozenset()
    assert told.heard == [("revoked", [0]), ("revoked", [1, 2])]


def test_an_end_without_shards_is_an_end_at_once() -> None:
    holdings, told = with_shards()
    holdings.begin_end(100.0)
    assert holdings.is_at_end(100.0)
    assert told.heard == []


def test_an_end_that_takes_too_long_loses_what_is_left() -> None:
    holdings, told = with_shards(0, 1)
    holdings.begin_end(100.0)
    assert not holdings.is_at_end(100.0 + WITHIN - 0.1)
    assert holdings.is_at_end(100.0 + WITHIN)
    holdings.close()
    assert told.heard == [("revoked", [0, 1]), ("lost", [0, 1])]


def test_an_end_without_order_loses_everything() -> None:
    holdings, told = with_shards(0, 1)
    holdings.close()
    holdings.close()
    assert told.heard == [("lost", [0, 1])]
