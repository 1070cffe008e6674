"""One parent and two workers, as processes on a real Kafka."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.notify_socket import NotifySocket
from tests.support.process import MIX_BRIDGE, Bridge, command
from tests.support.scene import settings, status, texts, wait_logged
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.waiting import let_pass, wait_until

SESSIONS = [f"s{number}" for number in range(8)]
AWAY: dict[str, object] = {"kafka.bootstrap_servers": "127.0.0.1:9", "servers.local.url": "http://127.0.0.1:9"}
TWO_AWAY = AWAY | {"start_timeout": 0, "workers": 2}
"""Neither Kafka nor the server is there, and two workers wait for them."""


FIRST = ("unshare", "-rpf", "--kill-child", "--mount-proc")
"""Runs a program as the first process of its own process namespace."""


def children(pid: int) -> list[int]:
    """The processes that it must reap, dead or alive."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def pids(bridge: Bridge) -> dict[int, int]:
    """The present processes of the workers."""
    found = [line for line in bridge.log_lines() if line["event"] == "worker started"]
    return {line["worker"]: line["pid"] for line in found}


def acknowledged(bridge: Bridge) -> dict[str, int]:
    """The acknowledged numbers of all sessions."""
    return {each["session"]: each["acknowledged_sequence"] for each in status(bridge)["sessions"]}


def workers_of(bridge: Bridge) -> set[int]:
    """The workers that have sessions, once all sessions are streaming."""
    sessions = status(bridge)["sessions"]
    is_settled = [each["state"] for each in sessions] == ["streaming"] * len(SESSIONS)
    return {each["worker"] for each in sessions} if is_settled else set()


def exists(pid: int) -> bool:
    """Whether there is such a process, dead or alive."""
    return Path("/proc", str(pid)).exists()


def test_a_killed_worker_loses_nothing_and_the_endpoint_stays_up(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Its sessions resume within the session timeout; signals reach all workers, and none is left behind."""
    with scripted_mix() as mix, NotifySocket(tmp_path) as manager:
        feeds = {name: Feed(0) for name in SESSIONS}
        mix.serve(feeds)
        chosen = settings(kafka, namespace, mix.url) | {"topics.shards": 4, "kafka.group_session_timeout": "6s"}
        bridge = Bridge(tmp_path / "bridge", chosen, variables={"NOTIFY_SOCKET": manager.address})
        with bridge.start("--workers", "2"):
            bridge.wait_ready()
            manager.wait("READY")
            wait_until(lambda: workers_of(bridge) == {1, 2}, 30, "both", 0.1)
            for feed in feeds.values():  # a session that moves now would count an event twice
                feed.add(20)
            wait_until(lambda: acknowledged(bridge) == dict.fromkeys(SESSIONS, 20), 60, "all events", 0.1)
            assert 'mix_bridge_events_received_total{server="local"} 160.0' in bridge.get("/metrics").text
            assert 'mix_bridge_buffer_bytes{worker="2"}' in bridge.get("/metrics").text
            done = command(["status", "--url", bridge.url])
            assert (done.returncode, "8 sessions: 8 streaming" in done.stdout) == (0, True), done.stdout
            shown = bridge.get("/api/view").json()
            assert shown["verdict"]["text"] == "Ready: 8 sessions, all checks passed"
            assert {each["worker"] for each in shown["sessions"].values()} == {1, 2}
            assert (shown["totals"]["received"], shown["replicas"]) == (160, {})
            support = bridge.get("/api/support").json()
            assert all("Thread MainThread" in each["stacks"] for each in support["workers"].values())
            bridge.send(signal.SIGHUP)
            wait_until(lambda: bridge.log_text().count('"settings reloaded"') == 3, 20, "three reloads")
            before = pids(bridge)
            os.kill(before[1], signal.SIGKILL)
            for feed in feeds.values():
                feed.add(20)
            codes = set[int]()

            def resumed() -> bool:
                codes.add(bridge.get("/livez").status)
                return acknowledged(bridge) == dict.fromkeys(SESSIONS, 40)

            wait_until(resumed, 60, "the events after the kill", 0.1)
            assert codes == {200}
            bridge.wait_ready()
            assert pids(bridge)[1] != before[1]
            assert not exists(before[1])
            assert manager.count("READY") == 2  # the start, and after the reload
            assert bridge.terminate() == 0
            manager.wait("STOPPING")
        assert not any(exists(pid) for pid in pids(bridge).values())
        expected: list[Any] = [str(number) for number in range(1, 41)]
        assert all(len(texts(kafka, namespace, name)) == len(expected) for name in SESSIONS)


def test_workers_that_cannot_run_end_the_parent(tmp_path: Path) -> None:
    """Kafka cannot be reached: exit code 69, as without workers. Wrong settings: 78, before any is started."""
    away = AWAY | {"start_timeout": "1s"}
    with Bridge(tmp_path / "away", away).start("--workers", "2", wait=False) as bridge:
        assert bridge.wait() == 69
        assert not any(exists(pid) for pid in pids(bridge).values())
    with Bridge(tmp_path / "wrong", away | {"workers": "many"}).start(wait=False) as bridge:
        assert bridge.wait() == 78


def test_a_stop_during_the_start_is_no_fault(tmp_path: Path) -> None:
    """The workers have no handler for signals yet: that must not look like a shutdown that failed."""
    with Bridge(tmp_path / "bridge", TWO_AWAY).start(wait=False) as bridge:
        wait_until(lambda: len(pids(bridge)) == 2, 20, "two workers", 0.01)
        assert bridge.terminate() == 0


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*FIRST, "true"], check=False).returncode != 0,
    reason="needs the right to create process namespaces",
)
def test_it_works_as_the_first_process_of_a_container(tmp_path: Path) -> None:
    """It reaps the orphans of others, forwards all signals, and leaves no process behind."""
    orphan = ("sh", "-c", '(sleep 0.1 & echo $! >&2); exec "$@"', "sh")
    with Bridge(tmp_path / "bridge", TWO_AWAY, program=(*FIRST, *orphan, *MIX_BRIDGE)).start() as bridge:
        (first,) = children(bridge.pid)
        for number in (1, 2):
            wait_until(lambda each=number: f"worker-{each}:restore" in bridge.get("/readyz").text, 30, "both")  # type: ignore[misc]
        wait_until(lambda: len(children(first)) == 2, 10, "the end of the orphan")
        os.kill(first, signal.SIGHUP)
        wait_until(lambda: bridge.log_text().count('"settings reloaded"') == 3, 20, "three reloads")
        os.kill(first, signal.SIGUSR1)
        wait_until(lambda: bridge.log_text().count("Thread MainThread:") == 3, 20, "the stacks of all")
        workers = children(first)
        os.kill(first, signal.SIGTERM)
        assert bridge.wait() == 0
        assert not any(exists(pid) for pid in (first, *workers))


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    """Even if it is killed: otherwise they would continue without anybody who restarts or stops them."""
    with Bridge(tmp_path / "bridge", TWO_AWAY).start() as bridge:
        wait_until(lambda: len(pids(bridge)) == 2, 20, "two workers")
        for number in (1, 2):
            wait_logged(bridge, "Kafka is not ready")
            assert exists(pids(bridge)[number])
        bridge.kill()
        wait_until(lambda: not any(exists(pid) for pid in pids(bridge).values()), 20, "their end")


def test_a_worker_that_hangs_does_not_make_the_parent_hang(tmp_path: Path) -> None:
    """Its endpoint does not answer; that of the parent does, and a shutdown still ends."""
    with Bridge(tmp_path / "bridge", TWO_AWAY | {"delivery.drain_timeout": "1s"}).start() as bridge:
        wait_until(lambda: len(pids(bridge)) == 2, 20, "two workers")
        wait_until(lambda: "worker-2:restore" in bridge.get("/readyz").text, 20, "its endpoint")
        stopped = pids(bridge)[2]
        os.kill(stopped, signal.SIGSTOP)
        for _ in range(7):
            let_pass(1.0)
            assert bridge.get("/livez").status == 200
        assert '"name": "worker-2"' in bridge.get("/readyz").text
        bridge.terminate()
        wait_until(lambda: not exists(stopped), 10, "its end")
