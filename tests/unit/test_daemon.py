"""The daemon's start and end, around what needs a Kafka."""

from __future__ import annotations

import resource
import threading
from typing import Any, cast

import pytest

from bridge.clock import monotonic
from bridge.core.checkpoint import Checkpoint
from bridge.core.identity import SessionKey
from bridge.daemon import daemon as module
from bridge.daemon import limits
from bridge.daemon.daemon import Daemon
from bridge.daemon.supervisor import Supervisor
from bridge.delivery.at_least_once import AtLeastOnce
from bridge.errors import EXIT_FATAL, EXIT_OK, Unreachable
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


def test_the_servers_have_a_start_budget_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore that takes longer than it must not end the start before a server was asked."""
    begun = []

    def restore(*_arguments: object) -> dict[SessionKey, Checkpoint]:
        threading.Event().wait(0.7)
        begun.append(monotonic())
        return {}

    monkeypatch.setattr(module, "restore", restore)
    daemon = Daemon(settings(start_timeout="500ms"), ground)
    with pytest.raises(Unreachable, match="no server answered"):
        daemon.run()
    assert monotonic() - begun[0] > 0.5


def test_a_stop_during_the_start_begins_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would all be begun, and ended at once."""
    ticks: list[Supervisor] = []
    daemon = Daemon(settings(), ground)

    def restore(*_arguments: object) -> dict[SessionKey, Checkpoint]:
        daemon.stop()
        return {}

    monkeypatch.setattr(module, "restore", restore)
    monkeypatch.setattr(Supervisor, "tick", ticks.append)
    assert daemon.run() == EXIT_OK
    assert ticks == []


class Reader:
    """A supervisor whose reader hangs in a name lookup."""

    def stop(self) -> None:
        """Not heard."""

    def join(self, deadline: float) -> bool:
        """It does not return."""
        threading.Event().wait(max(0.0, deadline - monotonic()))
        return False


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
    ("unsettled", "code", "asked"), [(0, EXIT_OK, ["stop"]), (1, EXIT_FATAL, ["stop", "abort"])], ids=["all", "not all"]
)
def test_a_reader_that_does_not_return_does_not_cost_the_drain(unsettled: int, code: int, asked: list[str]) -> None:
    """A third of the time is for readers; then what they have read is delivered, and that alone decides."""
    daemon, delivery = Daemon(settings(delivery__drain_timeout="600ms"), ground), Delivery(unsettled)
    daemon._supervisor = cast("Supervisor", Reader())
    daemon._delivery = cast("AtLeastOnce", delivery)
    begun = monotonic()
    assert daemon._shut_down() == code
    assert delivery.asked == asked
    assert monotonic() - begun < (0.5 if code == EXIT_OK else 1.5)


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
