"""How many sessions fit into the limits of the machine, and what happens to the others."""

from __future__ import annotations

import os
import resource
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.core.identity import SessionKey
from bridge.core.snapshot import ServerSnapshot
from bridge.daemon.capacity import RECHECK, Capacity, Fit, LeftOut, Reserve, read_fit
from bridge.daemon.limits import raise_open_files, set_switch_interval
from bridge.daemon.machine import Limit, descriptor_limit, thread_limit
from bridge.errors import SettingsError
from bridge.settings import load


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a machine without limits, with 10 threads in this process and 100 altogether."""
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (resource.RLIM_INFINITY,) * 2)
    write(tmp_path, "proc/self/status", "Name:\tx\nUid:\t1\t1\t1\t1\nThreads:\t10\nCapEff:\t0\n")
    write(tmp_path, "proc/loadavg", "0.1 0.1 0.1 2/100 4711\n")
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_without_a_limit_nothing_is_known(root: Path) -> None:
    assert thread_limit(root) is None


def test_the_strictest_cgroup_counts_and_other_processes_in_it(root: Path) -> None:
    """Version 2, two levels: a pod with 60 threads of its sidecars."""
    write(root, "proc/self/cgroup", "0::/pod/app\n")
    write(root, "sys/fs/cgroup/pod/app/pids.max", "max\n")
    write(root, "sys/fs/cgroup/pod/app/pids.current", "10\n")
    write(root, "sys/fs/cgroup/pod/pids.max", "500\n")
    write(root, "sys/fs/cgroup/pod/pids.current", "70\n")
    found = thread_limit(root)
    assert found is not None
    assert found.most == 500 - 60
    assert "pids.max" in found.name


@pytest.mark.parametrize("path", ["/", "/docker/0123", "/system.slice/mix-bridge.service"])
def test_in_a_container_the_mount_is_the_containers_own_cgroup(root: Path, path: str) -> None:
    """Its path may be the host's, which does not exist here. Version 1 has a mount for each controller."""
    write(root, "proc/self/cgroup", f"9:name=systemd:{path}\n8:cpu,cpuacct:{path}\n3:pids:{path}\n")
    write(root, "sys/fs/cgroup/pids/pids.max", "120\n")
    write(root, "sys/fs/cgroup/pids/pids.current", "10\n")
    found = thread_limit(root)
    assert found is not None
    assert found.most == 120


def test_the_machine_has_limits_too(root: Path) -> None:
    write(root, "proc/sys/kernel/threads-max", "1000\n")
    write(root, "proc/sys/kernel/pid_max", "400\n")
    assert thread_limit(root) == Limit(400 - 90, "kernel.pid_max of the machine")


@pytest.mark.parametrize(("capabilities", "is_limited"), [("0", True), ("1000000", False), ("200000", False)])
def test_the_limit_of_the_user_counts_all_its_processes(
    root: Path, monkeypatch: pytest.MonkeyPatch, capabilities: str, *, is_limited: bool
) -> None:
    """The kernel does not enforce it for root, and with one of two capabilities."""
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (100, 100))
    monkeypatch.setattr(os, "getuid", lambda: 1)
    status = "Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nThreads:\t{threads}\nCapEff:\t" + capabilities + "\n"
    write(root, "proc/self/status", status.format(uid=1, threads=10))
    for process, uid, threads in ((7, 1, 10), (8, 1, 25), (9, 2, 50)):
        write(root, f"proc/{process}/status", status.format(uid=uid, threads=threads))
    found = thread_limit(root)
    assert (found is not None and found.most == 75) is is_limited
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert thread_limit(root) is None


def test_the_limits_of_this_process_are_read() -> None:
    """The real ones: the number of threads is among them on every Linux."""
    found, files = thread_limit(), descriptor_limit()
    assert found is not None
    assert found.most > threading.active_count()
    assert files is None or files.most > 0
    assert read_fit(Reserve(0, 0)).sessions is not None


def reserve(guarantee: str, shards: int, brokers: int) -> Reserve:
    settings = load({"delivery.guarantee": guarantee, "servers.local.url": "http://x"}, {})
    return Reserve.of(settings, shards, brokers)


def test_the_reserve_is_more_than_what_was_measured() -> None:
    """With one broker: 33 threads and 45 descriptors at least once, 70 and 104 exactly once with 8 shards."""
    least, once = reserve("at_least_once", 8, 1), reserve("exactly_once", 8, 1)
    assert 33 < least.threads < 60
    assert 70 < once.threads < 110
    assert least.descriptors > 45
    assert once.descriptors > 104
    assert reserve("exactly_once", 64, 1).threads > 64 * 5
    assert reserve("at_least_once", 64, 3).threads - least.threads >= 2 * 7


def test_the_strictest_limit_decides() -> None:
    kept = Reserve(50, 200)
    assert Fit.within(Limit(150, "threads"), Limit(1024, "files"), kept) == Fit(100, "threads", 150, 50)
    assert Fit.within(Limit(1500, "threads"), Limit(1024, "files"), kept) == Fit(824, "files", 1024, 200)
    assert Fit.within(None, None, kept).sessions is None
    Fit.within(None, None, kept).require()
    with pytest.raises(SettingsError, match="is 40 for this process, and Kafka's clients need 50: raise it"):
        Fit.within(Limit(40, "threads"), None, kept).require()


class Machine:
    """A machine whose limit a test changes."""

    def __init__(self, sessions: int) -> None:
        self.sessions = sessions
        self.reads = 0

    def __call__(self, _: Reserve) -> Fit:
        self.reads += 1
        return Fit(self.sessions, "threads", self.sessions + 50, 50)


def test_a_raised_limit_is_noticed() -> None:
    """And not read again as long as everything fits."""
    limits = Machine(10)
    capacity = Capacity(Reserve(50, 200), limits)
    assert capacity.room(running=0, wanted=10, now=0.0) == 10
    assert limits.reads == 1
    assert capacity.room(running=10, wanted=5, now=1.0) == 0
    limits.sessions = 12
    assert capacity.room(running=10, wanted=5, now=2.0) == 0
    assert capacity.room(running=10, wanted=5, now=1.1 + RECHECK) == 2


def test_after_a_refused_thread_nothing_more_is_started() -> None:
    """Other processes use up the limit too."""
    capacity = Capacity(Reserve(50, 200), Machine(100))
    capacity.refused(running=30, now=1.0)
    assert capacity.room(running=30, wanted=5, now=2.0) == 0
    assert capacity.room(running=30, wanted=5, now=1.1 + RECHECK) == 5


def test_what_does_not_fit_is_shown_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each session in the status, and the number in the server and in one log line."""
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr("bridge.daemon.capacity.log.error", lambda _, **keys: lines.append(keys))
    left_out = LeftOut(Capacity(Reserve(50, 200), Machine(3)))
    wanted = [SessionKey("local", f"s{number}") for number in range(5)]
    assert left_out.fitting("local", wanted, running=0) == wanted[:3]
    left_out.report(0.0)
    assert [each.session for each in left_out.snapshots()] == ["s3", "s4"]
    assert {each.state for each in left_out.snapshots()} == {"not_bridged"}
    server = left_out.added("local", ServerSnapshot(reachable=True, not_bridged=7))
    assert (server.not_bridged, server.without_thread) == (9, 2)
    for now in (1.0, 2.0, 3.0):
        left_out.fitting("local", wanted[3:], running=3)
        left_out.report(now)
    assert [(line["not_bridged"], line["sessions_fit"], line["limit"]) for line in lines] == [(2, 3, "threads")]
    left_out.fitting("local", [], running=3)
    left_out.report(4.0)
    assert left_out.snapshots() == ()


@pytest.fixture
def interval_before() -> Iterator[None]:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize(
    ("readers", "seconds"), [(0, 0.005), (10, 0.005), (50, 0.025), (100, 0.05), (1000, 0.5), (5000, 2.5)]
)
@pytest.mark.usefixtures("interval_before")
def test_the_switch_interval_grows_with_the_readers(readers: int, seconds: float) -> None:
    """Those who wait wake up 2,000 times a second together at most. When they end, it is Python's own again."""
    set_switch_interval(5000)
    set_switch_interval(readers)
    assert sys.getswitchinterval() == pytest.approx(seconds)


def test_the_soft_limit_of_open_files_becomes_the_hard_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that refuses is no reason to fail."""
    limits = []
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (64, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: limits.append(limit))
    raise_open_files()
    assert limits == [(resource.RLIMIT_NOFILE, (4096, 4096))]

    def refuse(*_limit: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_open_files()
