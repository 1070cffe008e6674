"""Several replicas share the sessions, start, stop and fail; ``make torture`` does it for longer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import pytest

from bridge.clock import monotonic
from tests.support.process import Bridge
from tests.support.waiting import SCALE, TIMEOUT, wait_until
from tests.torture.fleet import Fleet, Replica
from tests.torture.replicas import AT_LEAST_ONCE, EXACTLY_ONCE, FleetTest, fleet_settings, one_reader_at_a_time
from tests.torture.run import Load, Place, Run
from tests.torture.sight import Sight
from tests.torture.streams import moved_after

LOAD = Load(sessions=24, rate=20.0)  # so many that each replica's shards have some, but for 1 run of 5,000
LONG = 60.0 * SCALE
"""A session time-out that is longer than any test: a replica that returns earlier did not wait for it."""


PAUSED_AT = {AT_LEAST_ONCE: "checkpoint_sent", EXACTLY_ONCE: "after_produce"}


@contextmanager
def running(
    place: Place,
    guarantee: str,
    *names: str,
    named: bool = False,
    timeout: float = 6.0,
    ends: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Fleet]:
    """Run these replicas, each with some of the sessions; ``ends``: how some end themselves on demand."""
    with Run(place, LOAD, {**fleet_settings(guarantee, timeout), "topics.shards": 6}) as run:
        fleet = Fleet(run)
        try:
            for name in names:
                fleet.add(name, named=named, end=(ends or {}).get(name, ()), wait=False)
            for replica in fleet.live:
                replica.bridge.wait_listening()
            fleet.wait_read()
            yield fleet
        finally:
            fleet.end()


@pytest.mark.parametrize("guarantee", [AT_LEAST_ONCE, EXACTLY_ONCE])
def test_nothing_is_lost_when_replicas_leave_die_and_are_paused(
    kafka: str, namespace: str, tmp_path: Path, guarantee: str
) -> None:
    """SIGTERM, ``kill -9``, SIGSTOP while writing a checkpoint and SIGCONT after the session time-out, all under load.

    At least once: the paused replica makes a stale write, and consumers miss nothing. Exactly once: its open
    transaction is aborted, and no event is there twice.
    """
    place = Place(tmp_path, kafka, namespace)
    ends = {"b": ("--point", PAUSED_AT[guarantee], "--signal", "STOP")}
    with (
        running(place, guarantee, "a", "b", "c", ends=ends) as fleet,
        Sight(kafka, f"{namespace}.events") as sight,
    ):
        test, (a, b, c) = FleetTest(fleet, sight), fleet.replicas.values()
        test.settle()
        test.make("leave", c)
        test.make("add", c)
        fleet.wait_end(b)
        test.make("kill", c)
        fleet.wake(b)
        test.settle()
        test.make("leave", a)
        fleet.finish()
        one_reader_at_a_time(fleet)
        assert max(test.times["leave"]) < 6 * SCALE, "a graceful shutdown waits for no time-out"
        figures = fleet.run.prove(f"replicas, {guarantee}", 5, new_epochs=guarantee == AT_LEAST_ONCE)
        if guarantee != AT_LEAST_ONCE:  # a stale write happens at some of these pauses; test_stale_writes forces one
            assert (figures.repeats, figures.twice) == (0, 0)


def test_a_named_replica_gets_its_shards_back_immediately(kafka: str, namespace: str, tmp_path: Path) -> None:
    """After ``kill -9`` too, without any move; a duplicate ends with 78; all report a replica with other servers."""
    place = Place(tmp_path, kafka, namespace)
    with running(place, AT_LEAST_ONCE, "a", "b", named=True, timeout=LONG) as fleet:
        a, b = fleet.replicas.values()
        before, of_b = fleet.share_of(a), numbers_of(fleet, b)
        at, owner = monotonic(), a.owner
        a.bridge.kill()
        a.start()
        fleet.wait_read()
        took = moved_after(fleet.streams(), owner, at)
        assert took is not None
        assert took < LONG / 3
        assert fleet.share_of(a) == before
        second = fleet.add("second", {"instance": "a"}, wait=False)
        assert second.bridge.wait(TIMEOUT) == 78, second.bridge.log_text()[-2000:]
        assert "instance" in second.bridge.log_text()
        assert fleet.share_of(a) == before
        assert numbers_of(fleet, b) == of_b
        del fleet.replicas["second"]
        different = fleet.add("different", {"servers.other.url": "http://127.0.0.1:9"})
        for each in (a, different):
            _wait_not_ready(each.bridge, "other servers")


def numbers_of(fleet: Fleet, replica: Replica) -> list[int]:
    """The numbers of all its streams."""
    return [each.number for each in fleet.streams() if each.owner == replica.owner]


def _wait_not_ready(bridge: Bridge, reason: str) -> None:
    def said() -> bool:
        answer = bridge.get("/readyz")
        return answer.status == HTTPStatus.SERVICE_UNAVAILABLE and reason in answer.text

    wait_until(said, 20, f"{reason} in /readyz, see {bridge.log}", 0.1)
