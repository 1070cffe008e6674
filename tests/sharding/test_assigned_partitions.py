"""The shards of a member: assigned, released in time or not, lost, and the shutdown."""

from __future__ import annotations

import threading
from collections.abc import Callable

from bridge.sharding.assigned_partitions import AssignedPartitions

TIMEOUT = 30.0


def shards(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


class Listener:
    """Notes its calls, in order; the test sets what is released."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[int]]] = []
        self.released: list[threading.Event] = []

    def assigned(self, shards: frozenset[int]) -> None:
        self.calls.append(("assigned", sorted(shards)))

    def revoked(self, shards: frozenset[int]) -> Callable[[], bool]:
        self.calls.append(("revoked", sorted(shards)))
        self.released.append(threading.Event())
        return self.released[-1].is_set

    def lost(self, shards: frozenset[int]) -> None:
        self.calls.append(("lost", sorted(shards)))


def with_shards(*numbers: int) -> tuple[AssignedPartitions, Listener]:
    listener = Listener()
    assigned = AssignedPartitions(listener, TIMEOUT)
    assigned.assign(shards(*numbers))
    listener.calls.clear()
    return assigned, listener


def test_shards_are_owned_until_they_are_released() -> None:
    assigned, listener = with_shards(0, 1, 2)
    assert assigned.revoke(shards(0, 1), 100.0)
    assert assigned.is_releasing
    assert not assigned.released(100.0)
    assert assigned.owned == {0, 1, 2}
    listener.released[0].set()
    assert assigned.released(101.0) == {0, 1}
    assert assigned.owned == {2}
    assert listener.calls == [("revoked", [0, 1])]
    assert not assigned.is_releasing


def test_shards_are_lost_at_the_deadline_of_their_release() -> None:
    assigned, listener = with_shards(0, 1)
    assigned.revoke(shards(0), 100.0)
    assert not assigned.released(100.0 + TIMEOUT - 0.1)
    assert assigned.released(100.0 + TIMEOUT) == {0}
    assert listener.calls == [("revoked", [0]), ("lost", [0])]
    assert assigned.owned == {1}


def test_shards_that_are_lost_during_their_release_need_not_be_kept() -> None:
    assigned, listener = with_shards(0, 1)
    assigned.revoke(shards(0), 100.0)
    assigned.lose(shards(0, 1))
    assert assigned.released(100.0) == {0}
    assert listener.calls == [("revoked", [0]), ("lost", [0, 1])]


def test_partitions_that_are_no_shards_go_immediately_or_together_with_shards() -> None:
    assigned, listener = with_shards(0)
    assert not assigned.revoke(shards(4), 100.0)
    assert assigned.revoke(shards(0, 4), 100.0)
    listener.released[0].set()
    assert assigned.released(100.0) == {0, 4}


def test_an_empty_assignment_is_reported_and_an_empty_loss_is_not() -> None:
    """It means that the group assigned all lost shards to others."""
    assigned, listener = with_shards(0)
    assigned.assign(shards())
    assigned.lose(shards(1))
    assert listener.calls == [("assigned", [])]


def test_the_shutdown_revokes_all_remaining_shards_once() -> None:
    """Partitions that the group revokes meanwhile wait for the same release; nothing more is assigned."""
    assigned, listener = with_shards(0, 1, 2)
    assigned.revoke(shards(0), 100.0)
    assigned.shut_down(101.0)
    assert listener.calls == [("revoked", [0]), ("revoked", [1, 2])]
    assert assigned.revoke(shards(1), 102.0)
    assigned.assign(shards(3))
    assert not assigned.is_shut_down(102.0)
    for released in listener.released:
        released.set()
    assert assigned.released(103.0) == {0, 1}
    assert assigned.is_shut_down(103.0)
    assert assigned.owned == {2}  # until its last metadata is committed
    assigned.close()
    assert not assigned.owned
    assert listener.calls == [("revoked", [0]), ("revoked", [1, 2])]


def test_a_shutdown_without_shards_takes_no_time() -> None:
    assigned, listener = with_shards()
    assigned.shut_down(100.0)
    assert assigned.is_shut_down(100.0)
    assert listener.calls == []


def test_a_shutdown_that_takes_too_long_loses_the_rest() -> None:
    assigned, listener = with_shards(0, 1)
    assigned.shut_down(100.0)
    assert not assigned.is_shut_down(100.0 + TIMEOUT - 0.1)
    assert assigned.is_shut_down(100.0 + TIMEOUT)
    assigned.close()
    assert listener.calls == [("revoked", [0, 1]), ("lost", [0, 1])]


def test_closing_without_a_shutdown_loses_everything() -> None:
    assigned, listener = with_shards(0, 1)
    assigned.close()
    assigned.close()
    assert listener.calls == [("lost", [0, 1])]
