"""A daemon and a demo whose output nobody reads: a pipe takes 64 KiB, then each write to it waits for ever."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("arguments", "code"), [(["demo"], 75), (["status", "--watch", "--url", "127.0.0.1:9"], 0)], ids=["demo", "status"]
)
def test_a_signal_ends_a_command_whose_stdout_is_not_read(tmp_path: Path, arguments: list[str], code: int) -> None:
    """It handles signals itself, on the thread that waits for the reader."""
    with full_pipe(screen := tmp_path / "screen"):
        process = spawn([*MIX_BRIDGE, *arguments], env=environment({}), log=tmp_path / "log", stdout=screen)
        wait_until(lambda: _handles(process.pid, signal.SIGTERM), what="its signal handlers")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30 * SCALE) == code


def _handles(pid: int, number: int) -> bool:
    status = Path("/proc", str(pid), "status").read_text()
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(caught >> (number - 1) & 1)
