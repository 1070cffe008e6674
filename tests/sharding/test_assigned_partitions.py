"""Which shards a member has: given, given up in time or not, lost, and the end."""

from __future__ import annotations

import threading

from bridge.sharding.assigned_partitions import AssignedPartitions

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


def with_shards(*shards: int) -> tuple[AssignedPartitions, Told]:
    told = Told()
    assigned_partitions = AssignedPartitions(told, WITHIN)
    assigned_partitions.gain(frozenset(shards))
    told.heard.clear()
    return assigned_partitions, told


def test_shards_are_owned_until_they_are_given_up() -> None:
    assigned_partitions, told = with_shards(0, 1, 2)
    assert assigned_partitions.give_up(frozenset({0, 1}), 100.0)
    assert assigned_partitions.is_giving_up
    assert assigned_partitions.let_go(100.0) == []
    assert assigned_partitions.owned == {0, 1, 2}
    told.released[0].set()
    assert assigned_partitions.let_go(101.0) == [frozenset({0, 1})]
    assert assigned_partitions.owned == {2}
    assert told.heard == [("revoked", [0, 1])]
    assert not assigned_partitions.is_giving_up


def test_past_the_deadline_they_are_lost_and_go() -> None:
    assigned_partitions, told = with_shards(0, 1)
    assigned_partitions.give_up(frozenset({0}), 100.0)
    assert assigned_partitions.let_go(100.0 + WITHIN - 0.1) == []
    assert assigned_partitions.let_go(100.0 + WITHIN) == [frozenset({0})]
    assert told.heard == [("revoked", [0]), ("lost", [0])]
    assert assigned_partitions.owned == {1}


def test_what_is_lost_while_it_is_given_up_goes_at_once() -> None:
    assigned_partitions, told = with_shards(0, 1)
    assigned_partitions.give_up(frozenset({0}), 100.0)
    assigned_partitions.lose(frozenset({0, 1}))
    assert assigned_partitions.let_go(100.0) == [frozenset({0})]
    assert told.heard == [("revoked", [0]), ("lost", [0, 1])]


def test_partitions_that_are_no_shards_go_at_once_or_with_those_that_are() -> None:
    assigned_partitions, told = with_shards(0)
    assert not assigned_partitions.give_up(frozenset({4}), 100.0)
    assert assigned_partitions.give_up(frozenset({0, 4}), 100.0)
    told.released[0].set()
    assert assigned_partitions.let_go(100.0) == [frozenset({0, 4})]


def test_an_empty_assignment_is_told_and_a_loss_of_nothing_is_not() -> None:
    """It says that whatever was lost before is somebody else's."""
    assigned_partitions, told = with_shards(0)
    assigned_partitions.gain(frozenset())
    assigned_partitions.lose(frozenset({1}))
    assert told.heard == [("assigned", [])]


def test_at_the_end_the_listener_is_asked_once_for_everything_that_is_left() -> None:
    """What the group asks back meanwhile waits for the same release; nothing is taken any more."""
    assigned_partitions, told = with_shards(0, 1, 2)
    assigned_partitions.give_up(frozenset({0}), 100.0)
    assigned_partitions.begin_end(101.0)
    assert told.heard == [("revoked", [0]), ("revoked", [1, 2])]
    assert assigned_partitions.give_up(frozenset({1}), 102.0)
    assigned_partitions.gain(frozenset({3}))
    assert not assigned_partitions.is_at_end(102.0)
    for released in told.released:
        released.set()
    assert sorted(map(sorted, assigned_partitions.let_go(103.0))) == [[0], [1]]
    assert assigned_partitions.is_at_end(103.0)
    assert assigned_partitions.owned == {2}  # until its last word is written
    assigned_partitions.close()
    assert assigned_partitions.owned == frozenset()
    assert told.heard == [("revoked", [0]), ("revoked", [1, 2])]


def test_an_end_without_shards_is_an_end_at_once() -> None:
    assigned_partitions, told = with_shards()
    assigned_partitions.begin_end(100.0)
    assert assigned_partitions.is_at_end(100.0)
    assert told.heard == []


def test_an_end_that_takes_too_long_loses_what_is_left() -> None:
    assigned_partitions, told = with_shards(0, 1)
    assigned_partitions.begin_end(100.0)
    assert not assigned_partitions.is_at_end(100.0 + WITHIN - 0.1)
    assert assigned_partitions.is_at_end(100.0 + WITHIN)
    assigned_partitions.close()
    assert told.heard == [("revoked", [0, 1]), ("lost", [0, 1])]


def test_an_end_without_order_loses_everything() -> None:
    assigned_partitions, told = with_shards(0, 1)
    assigned_partitions.close()
    assigned_partitions.close()
    assert told.heard == [("lost", [0, 1])]
