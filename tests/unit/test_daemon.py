"""The daemon's start and end, around what needs a Kafka."""

from __future__ import annotations

import resource
import threading
from typing import Any, cast

import pytest

from bridge.clock import monotonic
from bridge.daemon import limits
from bridge.daemon.daemon import Daemon
from bridge.daemon.share import Share as DaemonsShare
from bridge.daemon.supervisor import Supervisor
from bridge.delivery.at_least_once import AtLeastOnce
from bridge.errors import EXIT_FATAL, EXIT_OK
from bridge.kafka.topics import Ground
from bridge.settings import Settings, load


def settings(**more: object) -> Settings:
    """Nobody listens anywhere."""
    values: dict[str, Any] = {"kafka.bootstrap_servers": "127.0.0.1:9", "http.port": "none"}
    values |= {"servers.local.url": "http://127.0.0.1:9"}
    return load(values | {key.replace("__", "."): value for key, value in more.items()}, {})


def ground(_settings: Settings) -> Ground:
    """Topics as they should be."""
    return Ground(checkpoint_partitions=1, max_request_bytes=1_000_000)


class Share:
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
    daemon, delivery = Daemon(settings(delivery__drain_timeout="600ms"), ground), Delivery(unsettled)
    share = Share(gives_up=gives_up)
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
