"""A daemon and a demo whose output nobody reads: a pipe takes 64 KiB, then each write to it waits for ever."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from bridge.clock import monotonic
from tests.support.process import MIX_BRIDGE, environment
from tests.support.processes import spawn
from tests.support.scene import settings, wait_acknowledged
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.unread import UnreadBridge, full_pipe
from tests.support.waiting import SCALE, wait_until


def test_the_daemon_bridges_and_shuts_down(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Sessions continue, probes are answered, and SIGTERM delivers what was read and ends it with 0."""
    with full_pipe(tmp_path / "bridge" / "bridge.log"), scripted_mix() as mix:
        feed = Feed(50)
        mix.serve({"a": feed})
        chosen = settings(kafka, namespace, mix.url)
        with UnreadBridge(tmp_path / "bridge", chosen) as bridge:
            wait_acknowledged(bridge, "a", 50)
            feed.add(50)
            wait_acknowledged(bridge, "a", 100)
            assert bridge.get("/livez").status == 200
            assert "mix_bridge_log_lines_dropped_total 0.0" in bridge.get("/metrics").text
            assert bridge.terminate() == 0


def test_a_fatal_error_ends_the_daemon(namespace: str, tmp_path: Path) -> None:
    """With its exit code, although the last message cannot be written."""
    with full_pipe(tmp_path / "bridge" / "bridge.log"):
        chosen = settings("127.0.0.1:9", namespace, "http://127.0.0.1:9", {"start_timeout": "1s"})
        with UnreadBridge(tmp_path / "bridge", chosen).start(wait=False) as bridge:
            assert bridge.wait() == 69


@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_a_signal_ends_the_demo(tmp_path: Path, number: signal.Signals) -> None:
    """Its screen is its stdout."""
    with full_pipe(screen := tmp_path / "screen"):
        begun = monotonic()
        command = [*MIX_BRIDGE, "demo"]
        demo = spawn(command, env=environment({}), log=tmp_path / "log", stdout=screen)
        wait_until(lambda: _handles(demo.pid, number), what="its signal handlers")
        demo.send_signal(number)
        assert demo.wait(30 * SCALE) == 75
        assert monotonic() - begun < 30 * SCALE


def _handles(pid: int, number: int) -> bool:
    status = Path("/proc", str(pid), "status").read_text()
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(caught >> (number - 1) & 1)
