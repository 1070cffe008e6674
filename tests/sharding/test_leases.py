"""The leases of a member's shards: assigned, released in time or not, lost, the shutdown; and the table of states."""

from __future__ import annotations

from bridge.sharding.leases import Leases
from bridge.sharding.states import TRANSITIONS, ShardSignal, ShardState
from tests.fakes.membership import SoleOwner

TIMEOUT = 30.0


def shards(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


class Owner:
    """Notes the events for the main thread, in groups as they came."""

    def __init__(self, *numbers: int) -> None:
        self.calls: list[tuple[str, list[int]]] = []
        self.leases = Leases(SoleOwner(), self._note, TIMEOUT)
        self.leases.assign(shards(*numbers))
        self.calls.clear()

    def _note(self) -> None:
        events = list(self.leases.events())
        if events and events[0].signal is not None:
            self.calls.append((events[0].signal.name.lower(), sorted(each.shard for each in events)))

    def release(self, *numbers: int) -> None:
        """The main thread has released these shards."""
        for number in numbers:
            self.leases._leases[number].released.set()


def with_shards(*numbers: int) -> tuple[Leases, Owner]:
    owner = Owner(*numbers)
    return owner.leases, owner


def test_shards_are_owned_until_they_are_released() -> None:
    leases, owner = with_shards(0, 1, 2)
    assert leases.revoke(shards(0, 1), 100.0)
    assert leases.is_releasing
    assert not leases.released(100.0)
    assert leases.owned == {0, 1, 2}
    owner.release(0, 1)
    assert leases.released(101.0) == {0, 1}
    assert leases.owned == {2}
    assert owner.calls == [("revoked", [0, 1])]
    assert not leases.is_releasing


def test_shards_are_lost_at_the_deadline_of_their_release() -> None:
    leases, owner = with_shards(0, 1)
    leases.revoke(shards(0), 100.0)
    assert not leases.released(100.0 + TIMEOUT - 0.1)
    assert leases.released(100.0 + TIMEOUT) == {0}
    assert owner.calls == [("revoked", [0]), ("lost", [0])]
    assert leases.owned == {1}


def test_shards_that_are_lost_during_their_release_need_not_be_kept() -> None:
    leases, owner = with_shards(0, 1)
    leases.revoke(shards(0), 100.0)
    leases.lose(shards(0, 1))
    assert leases.released(100.0) == {0}
    assert owner.calls == [("revoked", [0]), ("lost", [0, 1])]


def test_partitions_that_are_no_shards_go_immediately_or_together_with_shards() -> None:
    leases, owner = with_shards(0)
    assert not leases.revoke(shards(4), 100.0)
    assert leases.revoke(shards(0, 4), 100.0)
    owner.release(0)
    assert leases.released(100.0) == {0, 4}


def test_an_empty_assignment_means_that_other_processes_own_the_lost_shards() -> None:
    """A loss of shards that this process does not own changes nothing."""
    leases, owner = with_shards(0)
    leases.assign(shards())
    leases.lose(shards(1))
    assert owner.calls == []
    leases.lose(shards(0))
    leases.assign(shards())
    assert owner.calls == [("lost", [0]), ("taken_over", [0])]


def test_the_shutdown_revokes_all_remaining_shards_once() -> None:
    """Partitions that the group revokes meanwhile wait for the same release; nothing more is leases."""
    leases, owner = with_shards(0, 1, 2)
    leases.revoke(shards(0), 100.0)
    leases.shut_down(101.0)
    assert owner.calls == [("revoked", [0]), ("revoked", [1, 2])]
    assert leases.revoke(shards(1), 102.0)
    leases.assign(shards(3))
    assert not leases.is_shut_down(102.0)
    owner.release(0, 1, 2)
    assert leases.released(103.0) == {0, 1}
    assert leases.is_shut_down(103.0)
    assert leases.owned == {2}  # until its last metadata is committed
    leases.close()
    assert not leases.owned
    assert owner.calls == [("revoked", [0]), ("revoked", [1, 2])]


def test_a_shard_that_is_revoked_again_during_the_shutdown_is_lost_rather_than_released_early() -> None:
    leases, owner = with_shards(0)
    leases.revoke(shards(0), 100.0)
    leases.shut_down(101.0)
    assert leases.revoke(shards(0), 102.0)
    assert leases.released(102.0) == {0}
    assert owner.calls == [("revoked", [0]), ("lost", [0])]


def test_a_shutdown_without_shards_takes_no_time() -> None:
    leases, owner = with_shards()
    leases.shut_down(100.0)
    assert leases.is_shut_down(100.0)
    assert owner.calls == []


def test_a_shutdown_that_takes_too_long_loses_the_rest() -> None:
    leases, owner = with_shards(0, 1)
    leases.shut_down(100.0)
    assert not leases.is_shut_down(100.0 + TIMEOUT - 0.1)
    assert leases.is_shut_down(100.0 + TIMEOUT)
    leases.close()
    assert owner.calls == [("revoked", [0, 1]), ("lost", [0, 1])]


def test_closing_without_a_shutdown_loses_everything() -> None:
    leases, owner = with_shards(0, 1)
    leases.close()
    leases.close()
    assert owner.calls == [("lost", [0, 1])]


def test_a_shard_that_another_process_has_is_gone_in_every_state_and_none_follows_gone() -> None:
    """The former owner hands nothing to a producer any more."""
    ends = {state for state, signal in TRANSITIONS if signal is ShardSignal.TAKEN_OVER}
    assert ends == set(ShardState) - {ShardState.GONE} == {state for state, _ in TRANSITIONS}
    assert {TRANSITIONS[state, ShardSignal.TAKEN_OVER] for state in ends} == {ShardState.GONE}


def test_a_shard_that_is_read_again_counts_as_owned() -> None:
    assert ShardState.REREADING.public_name == "owned"
