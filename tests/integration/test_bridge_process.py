"""The bridge as a process of its own, configured by its environment and ended by signals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import bridge
from tests.support.process import Bridge, command, environment
from tests.support.repository import REPOSITORY
from tests.support.waiting import wait_until


def test_a_command_runs_to_its_end() -> None:
    """Its output, errors and exit code are returned."""
    done = command(["--version"])
    assert (done.returncode, done.stderr) == (0, "")
    assert bridge.__version__ in done.stdout


def test_settings_become_variables() -> None:
    """Dotted keys, names with dots and dashes, lists and booleans, as the settings describe them."""
    variables = environment(
        {
            "kafka.bootstrap_servers": "h:1",
            "kafka.properties.socket.timeout.ms": 5000,
            "servers.local.headers.x-one": "1",
            "servers.local.sessions": ["a", "b"],
            "topics.create": True,
        }
    )
    assert {name: value for name, value in variables.items() if name.startswith("MIX_BRIDGE_")} == {
        "MIX_BRIDGE_KAFKA__BOOTSTRAP_SERVERS": "h:1",
        "MIX_BRIDGE_KAFKA__PROPERTIES__SOCKET_TIMEOUT_MS": "5000",
        "MIX_BRIDGE_SERVERS__LOCAL__HEADERS__X_ONE": "1",
        "MIX_BRIDGE_SERVERS__LOCAL__SESSIONS": '["a", "b"]',
        "MIX_BRIDGE_TOPICS__CREATE": "true",
    }


def test_it_starts_answers_shuts_down_and_starts_again(kafka: str, namespace: str, tmp_path: Path) -> None:
    """SIGTERM ends it with 0, SIGKILL with the signal. Each start has a port of its own."""
    settings = {
        "namespace": namespace,
        "kafka.bootstrap_servers": kafka,
        "servers.local.url": "http://127.0.0.1:9",  # the discard port: no server listens
        "servers.local.sessions": ["s1"],
        "start_timeout": 0,
    }
    with Bridge(tmp_path / "bridge", settings) as running:
        assert running.get("/livez").status == 200
        assert running.terminate() == 0
        running.start()
        running.kill()
        assert running.returncode == -9


def test_it_ends_when_its_parent_ends(tmp_path: Path) -> None:
    """A killed test run leaves no bridge behind."""
    code = (
        "import sys; from pathlib import Path; from tests.support.processes import spawn\n"
        "child = spawn(['sleep', '300'], log=Path(sys.argv[1])); print(child.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "log")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    assert parent.stdout is not None
    child = Path("/proc", parent.stdout.readline().decode().strip())
    wait_until(lambda: (child / "comm").read_text() == "sleep\n", 10, "the child to run")  # bound to its parent by then
    parent.kill()
    parent.communicate()
    wait_until(lambda: not _is_alive(child), 10, "the child to end")


def _is_alive(process: Path) -> bool:
    """False also for a zombie."""
    try:
        return process.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
