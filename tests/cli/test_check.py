"""``mix-bridge check`` without a Kafka: ``--offline``, ``--only`` and ``--strict``."""

from __future__ import annotations

import json
import os
import pty
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.process import MIX_BRIDGE, environment
from tests.support.waiting import TIMEOUT

FORBIDDEN = 99
NO_SOCKETS = f"""
import os, sys
sys.addaudithook(lambda event, _: os._exit({FORBIDDEN}) if event.startswith("socket.") else None)
from bridge.cli import main
sys.exit(main())
"""
"""Any use of Python's sockets ends the process; librdkafka's own would reach the listener."""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Listen on this machine, as Kafka and as the server of the settings."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        yield listening


def check(settings: dict[str, object], *options: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command in a process that may use no socket."""
    return subprocess.run(
        [*prefix, sys.executable, "-c", NO_SOCKETS, "check", *options],
        env=environment(settings), capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip


@pytest.fixture
def settings(listener: socket.socket) -> dict[str, object]:
    """Return settings whose addresses are all those of the listener."""
    port = listener.getsockname()[1]
    return {
        "kafka.bootstrap_servers": f"127.0.0.1:{port}",
        "servers.local.url": f"http://127.0.0.1:{port}",
        "http.port": port,  # in use: a look at it would fail
    }


def test_a_terminal_shows_that_the_command_waits(settings: dict[str, object], listener: socket.socket) -> None:
    """After two seconds without the answers; the listener accepts connections and says nothing."""
    ours, theirs = pty.openpty()
    arguments = [*MIX_BRIDGE, "check", "--only", "servers"]
    variables = environment(settings) | {"TERM": "xterm"}
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        with os.fdopen(theirs, "wb") as screen:
            command = subprocess.Popen(arguments, env=variables, stdout=subprocess.PIPE, stderr=screen)
        seen = b""
        with command, suppress(OSError):  # the end of the terminal
            while b"waiting for answers" not in seen:
                seen += terminal.read(4096)
            listener.close()
    assert b"waiting for answers" in seen
    assert command.returncode == 1


def states(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {line["subject"]: line["state"] for line in json.loads(done.stdout)["checks"]}


def assert_untouched(listener: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_offline_opens_no_socket(settings: dict[str, object], listener: socket.socket, tmp_path: Path) -> None:
    """Also with a login, and with files that are looked at."""
    token = tmp_path / "token"
    token.write_text("hunter2")
    login = {
        "kafka.security_protocol": "sasl_plaintext", "kafka.sasl_mechanism": "OAUTHBEARER",
        "kafka.properties.sasl.oauthbearer.method": "oidc", "kafka.properties.sasl.oauthbearer.client.id": "me",
        "kafka.properties.sasl.oauthbearer.client.secret": "hunter2",
        "kafka.properties.sasl.oauthbearer.token.endpoint.url": settings["servers.local.url"],
    }  # fmt: skip
    for more in ({}, {"servers.local.token_file": token} | login):
        done = check(settings | more, "--offline", "--json")
        assert done.returncode == 0, done.stderr
        files = {"files": "ok"} if more else {}
        assert states(done) == {"settings": "ok", **files, "kafka": "ok", "server local": "ok"}
        assert "hunter2" not in done.stdout + done.stderr
    assert_untouched(listener)


def test_the_guard_of_these_tests_works(settings: dict[str, object]) -> None:
    """The same process may not check what needs a connection."""
    assert check(settings, "--only", "servers").returncode == FORBIDDEN


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run(["unshare", "-rn", "true"], check=False).returncode != 0,
    reason="this machine makes no network namespaces for users",
)
def test_offline_works_without_a_network(settings: dict[str, object]) -> None:
    done = check(settings | {"kafka.bootstrap_servers": "kafka.invalid"}, "--offline", prefix=("unshare", "-rn"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"ok      server local: {settings['servers.local.url']} was not asked"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"kafka.properties.no.such": "hunter2"}, "kafka.properties.no.such: "),
        ({"kafka.ssl_ca_file": __file__, "kafka.security_protocol": "ssl"}, "kafka"),
    ],
)
def test_offline_refuses_wrong_settings_as_a_start_does(
    settings: dict[str, object], wrong: dict[str, object], named: str
) -> None:
    """Exit code 78, one line per mistake, nothing on stdout, and no value."""
    done = check(settings | wrong, "--offline")
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith(named)
    assert "hunter2" not in done.stderr


def test_warnings_count_with_strict(settings: dict[str, object], tmp_path: Path) -> None:
    """A secret in quotes is a warning: it fails only when the user asks for it."""
    (tmp_path / "servers__local__token").write_text('"hunter2"')
    quoted = ["--offline", "--json", "--secrets-dir", str(tmp_path)]
    kind, strict = check(settings, *quoted), check(settings, *quoted, "--strict")
    assert (kind.returncode, strict.returncode) == (0, 1)
    assert (json.loads(kind.stdout)["ok"], json.loads(strict.stdout)["ok"]) == (True, False)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--only", "kafka,nothing"], 2, "'nothing' is not a part; allowed: settings, files, kafka"),
        (["--offline", "--only", "topics,kafka"], 2, "topics cannot be checked with --offline"),
        (["--offline", "--probe", "local/a"], 2, "cannot be used with --offline"),
        (["--probe", "nowhere/a"], 2, "'nowhere' is not a server of the settings; there are: local"),
        (["--probe", "local"], 2, "'local' is not SERVER/SESSION"),
        (["--offline", "--only", "kafka,servers", "--json"], 0, ""),
    ],
)
def test_only_chooses_parts(settings: dict[str, object], options: list[str], code: int, said: str) -> None:
    """A part that does not exist, or cannot be checked, is a wrong use of the command line."""
    done = check(settings, *options)
    assert (done.returncode, said in done.stderr) == (code, True)
    if code == 0:
        assert states(done) == {"kafka": "ok", "server local": "ok"}
