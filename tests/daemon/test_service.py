"""systemd's notification protocol, on a real socket."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bridge.core.snapshot import SessionSnapshot
from bridge.daemon.service import Notify, Service, notify_of, status_line
from bridge.observe.health import LOOP_LIMIT
from tests.fakes.snapshots import WELL
from tests.support.notify_socket import NotifySocket

MOVING = {"supervisor": 0.1, "delivery": 0.2}
STUCK = {"supervisor": 0.1, "delivery": LOOP_LIMIT}


@dataclass
class Now:
    """A clock that a test moves."""

    at: float = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.at


def test_a_start_is_extended_until_it_is_ready_once(tmp_path: Path) -> None:
    """However long the restore takes; the watchdog is fed from the beginning."""
    now = Now()
    with NotifySocket(tmp_path) as manager:
        service = Service(Notify(manager.address), lambda: WELL, now)
        for _ in range(60):
            service.turn(MOVING)
            now.at += 2
        manager.wait("EXTEND_TIMEOUT_USEC", count=60)
        assert manager.count("READY") == 0
        manager.clear()
        service.turn(MOVING, is_ready=True)
        for _ in range(59):
            now.at += 2
            service.turn(MOVING, is_ready=True)
        manager.wait("WATCHDOG", count=60)
        assert (manager.count("READY"), manager.count("EXTEND_TIMEOUT_USEC")) == (1, 0)
        assert 20 <= manager.count("STATUS") <= 26


def test_a_stuck_loop_stops_the_watchdog_and_the_extension(tmp_path: Path) -> None:
    """The manager ends the process then."""
    now = Now()
    with NotifySocket(tmp_path) as manager:
        service = Service(Notify(manager.address), lambda: WELL, now)
        service.turn(STUCK)
        now.at += 2
        service.turn(STUCK, is_ready=True)
        manager.wait("READY")
        assert (manager.count("WATCHDOG"), manager.count("EXTEND_TIMEOUT_USEC")) == (0, 0)
        now.at += 2
        service.turn(MOVING, is_ready=True)
        manager.wait("WATCHDOG")


def test_a_shutdown_is_reported_and_extended(tmp_path: Path) -> None:
    """A drain may take longer than the unit's TimeoutStopSec."""
    now = Now()
    with NotifySocket(tmp_path) as manager:
        service = Service(Notify(manager.address), lambda: WELL, now)
        service.turn(MOVING, is_ready=True)
        service.stopping()
        for _ in range(5):
            now.at += 2
            service.turn(MOVING, is_ready=True)
        manager.wait("EXTEND_TIMEOUT_USEC", count=5)
        assert (manager.count("STOPPING"), manager.count("READY")) == (1, 1)


def test_a_reload_is_announced_with_its_time_and_ends_ready(tmp_path: Path) -> None:
    """A reload before the start is complete must not report the service as ready."""
    with NotifySocket(tmp_path) as manager:
        service = Service(Notify(manager.address), lambda: WELL, Now())
        service.reloading()
        service.reloaded()
        assert manager.messages() == []
        service.turn(MOVING, is_ready=True)
        manager.wait("READY")
        manager.clear()
        service.reloading()
        service.reloaded()
        manager.wait("READY")
        first, second = manager.messages()
        assert (first["RELOADING"], second) == ("1", {"READY": "1"})
        assert int(first["MONOTONIC_USEC"]) > 0


@pytest.mark.parametrize("address", [None, "", "/nowhere/notify", "@mix-bridge-nobody"])
def test_nothing_happens_without_a_manager(address: str | None) -> None:
    """Or when it is away."""
    service = Service(Notify(address), lambda: WELL)
    service.turn(MOVING, is_ready=True)
    service.stopping()
    assert not notify_of({}).is_on


def test_the_status_line_says_what_runs_and_what_is_wrong() -> None:
    """Without the name of any session."""
    sessions = tuple(SessionSnapshot("local", f"s{n}", "streaming" if n else "waiting") for n in range(3))
    assert status_line(replace(WELL, sessions=sessions)).startswith("2 of 3 sessions stream, ")
    silent = status_line(replace(WELL, sessions=sessions, kafka_last_answer_age=60.0))
    assert silent.endswith("; not ready: kafka")


def test_a_manager_that_was_away_learns_later_that_the_service_is_ready(tmp_path: Path) -> None:
    """Otherwise systemd would end a service that works."""
    now = Now()
    service = Service(Notify(str(tmp_path / "notify")), lambda: WELL, now)
    service.turn(MOVING, is_ready=True)
    now.at += 2
    with NotifySocket(tmp_path) as manager:
        service.turn(MOVING, is_ready=True)
        manager.wait("READY")
