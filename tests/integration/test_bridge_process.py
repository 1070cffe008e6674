"""The bridge as tests run it: a process of its own, configured by its environment, ended by signals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import bridge
from tests.support.process import REPOSITORY, Bridge, command, environment
from tests.support.waiting import wait_until


def test_a_command_runs_to_its_end() -> None:
    """Output, errors and exit code come back."""
    done = command(["--version"])
    assert (done.returncode, done.stderr) == (0, "")
    assert bridge.__version__ in done.stdout


def test_settings_become_variables() -> None:
    """Dotted keys, names with dots and dashes, lists and truth values, as the settings' description says."""
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


def test_it_starts_answers_stops_in_order_and_starts_again(kafka: str, namespace: str, tmp_path: Path) -> None:
    """SIGTERM ends it with 0, SIGKILL with the signal; each start is waited for at its own port."""
    settings = {
        "namespace": namespace,
        "kafka.bootstrap_servers": kafka,
        "servers.local.url": "http://127.0.0.1:9",  # the discard port: nobody listens
        "servers.local.sessions": ["s1"],
        "start_timeout": 0,
    }
    with Bridge(tmp_path / "bridge", settings) as running:
        assert running.get("/livez").status == 200
        assert running.terminate() == 0
        running.start()
        running.kill()
        assert running.returncode == -9


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
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
    wait_until(lambda: not _lives(child), 10, "the child to end")


def _lives(process: Path) -> bool:
    """False also for an ended child that nobody has waited for."""
    try:
        return process.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
