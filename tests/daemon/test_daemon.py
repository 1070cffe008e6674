"""The daemon's start and end, around what needs a Kafka."""

from __future__ import annotations

import resource
import threading
from typing import Any, cast

import pytest

from bridge.clock import monotonic
from bridge.daemon import limits
from bridge.daemon.daemon import Daemon, watch_nothing
from bridge.daemon.supervisor import Supervisor
from bridge.delivery.at_least_once import AtLeastOnce
from bridge.errors import EXIT_FATAL, EXIT_OK, Unreachable
from bridge.kafka.topics import TopicLimits
from bridge.settings import Settings, load
from bridge.sharding.coordinator import ShardCoordinator as DaemonsShare


def settings(**more: object) -> Settings:
    """Nobody listens anywhere."""
    values: dict[str, Any] = {"kafka.bootstrap_servers": "127.0.0.1:9", "http.port": "none"}
    values |= {"servers.local.url": "http://127.0.0.1:9"}
    return load(values | {key.replace("__", "."): value for key, value in more.items()}, {})


def ground(_settings: Settings) -> TopicLimits:
    """Topics as they should be."""
    return TopicLimits(checkpoint_partitions=1, max_request_bytes=1_000_000)


class ShardCoordinator:
    """A share of the work whose shards are given up after a while, or never."""

    left_undelivered = 0

    def __init__(self, *, gives_up: bool) -> None:
        self._gives_up = gives_up
        self.asked: list[str] = []

    def stop(self, deadline: float) -> None:
        """Give up."""
        self.asked.append(f"stop {deadline > monotonic() - 3}")

    def join(self, deadline: float) -> bool:
        """Whether all is given up."""
        threading.Event().wait(0.0 if self._gives_up else max(0.0, deadline - monotonic()))
        return self._gives_up

    def abort(self) -> None:
        """At once."""
        self.asked.append("abort")

    def close(self, deadline: float) -> None:
        """The end."""
        self.asked.append(f"close {deadline > 0}")


class Asking:
    """A supervisor that asks servers, or has nothing to ask for."""

    def __init__(self, *, wants: bool, reached: bool) -> None:
        self.wants_any, self._reached = wants, reached

    def any_reached(self) -> bool:
        """As the test has it."""
        return self._reached


class Waiting:
    """A share that waits for something."""

    def connection_failure(self) -> str:
        """What for."""
        return "shard 3: somebody's open transaction"


def judged(seconds: float, supervisor: Asking, *, has_begun: bool) -> Daemon:
    """A daemon so many seconds after its budget began, when it has looked at it."""
    daemon = Daemon(settings(start_timeout="2s"), ground, watch_nothing)
    daemon._budget_from = monotonic() - seconds
    daemon._has_begun = has_begun
    daemon._keep_budget(cast("Supervisor", supervisor), cast("DaemonsShare", Waiting()))
    return daemon


def test_a_start_without_shards_ends_when_the_group_has_had_its_time() -> None:
    """A group waits for its slowest member: that is no Kafka out of reach. Past it, what is waited for is named."""
    asking = Asking(wants=True, reached=False)
    judged(30.0, asking, has_begun=False)
    with pytest.raises(Unreachable, match="open transaction"):
        judged(63.0, asking, has_begun=False)


def test_servers_that_do_not_answer_end_the_start_and_one_that_has_does_not() -> None:
    """Their time begins when the shards are taken."""
    with pytest.raises(Unreachable, match="no server answered"):
        judged(3.0, Asking(wants=True, reached=False), has_begun=True)
    judged(1.0, Asking(wants=True, reached=False), has_begun=True)
    judged(300.0, Asking(wants=True, reached=True), has_begun=True)


def test_a_replica_that_has_nothing_to_ask_for_waits_for_ever() -> None:
    """When it takes a dead one's sessions over, the time for the servers begins."""
    daemon = judged(300.0, Asking(wants=False, reached=False), has_begun=True)
    assert monotonic() - daemon._budget_from < 1.0


class Readers:
    """A supervisor."""

    def stop(self) -> None:
        """Heard."""


class Delivery:
    """Delivers when it is told to stop, or never."""

    bug = None

    def __init__(self, unsettled: int) -> None:
        self.unsettled = unsettled
        self.asked: list[str] = []

    def stop(self) -> None:
        """Drain."""
        self.asked.append("stop")

    def abort(self) -> None:
        """Give up."""
        self.asked.append("abort")

    def join(self, deadline: float) -> bool:
        """Whether all is in Kafka."""
        threading.Event().wait(0.0 if not self.unsettled else max(0.0, deadline - monotonic()))
        return not self.unsettled


@pytest.mark.parametrize(
    ("gives_up", "unsettled", "code", "asked"),
    [
        (True, 0, EXIT_OK, ["stop True", "close True"]),
        (False, 0, EXIT_OK, ["stop True", "abort", "close True"]),
        (True, 1, EXIT_FATAL, ["stop True", "close True"]),
    ],
    ids=["all", "the group does not answer", "not delivered"],
)
def test_what_is_delivered_alone_decides_how_a_stop_ends(
    *, gives_up: bool, unsettled: int, code: int, asked: list[str]
) -> None:
    """A group that does not answer costs time, and no event."""
    daemon, delivery = Daemon(settings(delivery__drain_timeout="600ms"), ground, watch_nothing), Delivery(unsettled)
    share = ShardCoordinator(gives_up=gives_up)
    daemon._supervisor = cast("Supervisor", Readers())
    daemon._delivery = cast("AtLeastOnce", delivery)
    daemon._share = cast("DaemonsShare", share)
    begun = monotonic()
    assert daemon._shut_down() == code
    assert share.asked == asked
    assert delivery.asked == (["stop"] if not unsettled else ["stop", "abort"])
    assert monotonic() - begun < 1.5


def test_as_many_files_may_be_open_as_the_system_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The soft limit of open files becomes the hard one; a system that says no is no reason to fail."""
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (64, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda *what: asked.append(what))
    limits.raise_open_files()
    assert asked == [(resource.RLIMIT_NOFILE, (4096, 4096))]

    def refuse(*_what: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    limits.raise_open_files()
