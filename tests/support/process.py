"""The bridge as a real process: configured by its environment, stopped by signals, observed over HTTP and its log."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from tests.support.forked import Process
from tests.support.processes import spawn, start
from tests.support.repository import REPOSITORY
from tests.support.waiting import TIMEOUT, wait_until

# The installed command's entry point, called in a way that needs no installation.
MIX_BRIDGE = (sys.executable, "-m", "bridge")
EXECUTED = (sys.executable, "-c", "from bridge.cli import main; main()")
"""The same, never forked: see ``tests.support.fork_server``."""

# The variables that an interpreter needs; the bridge gets no others from the environment of the tests.
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")

_LISTENS = "http endpoint listens"


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Return the variables for dotted keys: ``kafka.bootstrap_servers`` is ``MIX_BRIDGE_KAFKA__BOOTSTRAP_SERVERS``."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {
        **inherited,
        "PYTHONPATH": str(REPOSITORY),
        **{variable(key): _text(value) for key, value in settings.items()},
    }


def variable(key: str) -> str:
    """Return the variable for a dotted key; dots under ``kafka.properties`` and every ``-`` become ``_``."""
    head, found, name = key.partition("kafka.properties.")
    path = [*head.split("."), "kafka", "properties", name.replace(".", "_")] if found else key.split(".")
    return "MIX_BRIDGE_" + "__".join(part.replace("-", "_").upper() for part in path if part)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, list | dict) else str(value)


class Answer(NamedTuple):
    """A response of the HTTP endpoint."""

    status: int
    text: str

    def json(self) -> Any:
        """Parse the body."""
        return json.loads(self.text)


class Bridge:
    """One ``mix-bridge run``, which can be restarted with the same settings. Used by one thread at a time."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, object],
        program: Sequence[str] = MIX_BRIDGE,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """``variables``: others than settings."""
        self._variables = variables or {}
        folder.mkdir(parents=True, exist_ok=True)
        self._program = program
        self.log = folder / "bridge.log"
        self.stdout = folder / "bridge.stdout"
        self.settings = {"http.port": 0, "log.format": "json", **settings}
        self._process: Process | None = None
        self._log_start = 0
        self._port: int | None = None

    def start(self, *arguments: str, wait: bool = True, deadline: float = 30.0) -> Self:
        """Start it; with ``wait``, return once its HTTP endpoint listens."""
        assert not self.running, "it runs already"
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._port = None
        command = [*self._program, "run", *arguments]
        self._process = spawn(
            command, env={**environment(self.settings), **self._variables}, log=self.log, stdout=self.stdout
        )
        if wait:
            self.wait_listening(deadline)
        return self

    def wait_listening(self, deadline: float = 30.0) -> None:
        """Return once its HTTP endpoint listens; a start that fails is ended."""
        try:
            wait_until(self._listening, deadline, f"the bridge's HTTP endpoint, see {self.log}")
        except BaseException:
            self.kill()  # a ``with`` statement does not end a start that failed in it
            raise

    @property
    def running(self) -> bool:
        """True from the start to the end of the process."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the last start."""
        return self._last().pid

    @property
    def returncode(self) -> int | None:
        """Of the last start; None while it runs, negative for a signal."""
        return self._last().poll()

    @property
    def url(self) -> str:
        """The address of its HTTP endpoint."""
        assert self._port is not None, "call wait_listening() first"
        return f"http://127.0.0.1:{self._port}"

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a GET request to its HTTP endpoint."""
        request = urllib.request.Request(self.url + path, headers=dict(headers or {}))
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=TIMEOUT) as response:
                return Answer(response.status, response.read().decode())
        except urllib.error.HTTPError as answer:
            return Answer(answer.code, answer.read().decode())

    def wait_ready(self, deadline: float = 30.0) -> Self:
        """Return once ``/readyz`` answers 200."""

        def ready() -> bool:
            self._must_run()
            return self.get("/readyz").status == HTTPStatus.OK

        wait_until(ready, deadline, f"a 200 of /readyz, see {self.log}", 0.05)
        return self

    def kill(self) -> None:
        """SIGKILL. Can be called twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal and return immediately."""
        self._last().send_signal(number)

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Wait for the end of the process and return its exit code."""
        return self._last().wait(timeout)

    def terminate(self, timeout: float = TIMEOUT) -> int:
        """Send SIGTERM, wait for the shutdown and return the exit code."""
        self.send(signal.SIGTERM)
        return self.wait(timeout)

    def log_text(self) -> str:
        """Return the log of the last start so far."""
        return self.log.read_bytes()[self._log_start :].decode(errors="replace")

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the JSON lines of the last start's log, without others (tracebacks)."""
        return [json.loads(line) for line in self.log_text().splitlines() if line.startswith("{") and line[-1] == "}"]

    def _listening(self) -> bool:
        self._must_run()
        ports = [line["port"] for line in self.log_lines() if _LISTENS in line.values()]
        self._port = ports[-1] if ports else None
        return bool(ports)

    def _must_run(self) -> None:
        if not self.running:
            raise RuntimeError(f"the bridge ended with {self.returncode}:\n{self.log_text()[-4000:]}")

    def _last(self) -> Process:
        assert self._process is not None, "it was never started"
        return self._process

    def __enter__(self) -> Self:
        return self if self.running else self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()


def command(
    arguments: Sequence[str], settings: Mapping[str, object] | None = None, timeout: float = 2 * TIMEOUT
) -> subprocess.CompletedProcess[str]:
    """Run one command of ``mix-bridge`` to its end; return its output, its errors and its exit code."""
    return run_to_end([*MIX_BRIDGE, *arguments], environment(settings or {}), timeout=timeout)


def run_to_end(
    whole: Sequence[str], variables: Mapping[str, str], folder: Path | None = None, timeout: float = 2 * TIMEOUT
) -> subprocess.CompletedProcess[str]:
    """Run a command with these variables only, in this folder."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = start(whole, output, errors, variables, folder)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        texts = [_text_of(file) for file in (output, errors)]
    return subprocess.CompletedProcess([*whole], code, *texts)


def _text_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def shell(text: str, chosen: dict[str, object], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line in a shell."""
    program = folder / "bin" / "mix-bridge"
    if not program.exists():
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {" ".join(MIX_BRIDGE)} "$@"\n')
        program.chmod(0o755)
    variables = environment(chosen)
    variables["PATH"] = f"{program.parent}{os.pathsep}{variables['PATH']}"
    return subprocess.run(
        ["/bin/bash", "-c", text], env=variables, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def on_terminal(arguments: Sequence[str], settings: Mapping[str, object]) -> str:
    """Return everything that a command writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    variables = environment(settings) | {"TERM": "xterm-256color", "COLUMNS": "80"}
    whole, seen = [*MIX_BRIDGE, *arguments], b""
    with subprocess.Popen(whole, stdin=theirs, stdout=theirs, stderr=theirs, env=variables, start_new_session=True):
        os.close(theirs)
        with suppress(OSError):  # the error of Linux after the other side was closed
            while chunk := os.read(ours, 65536):
                seen += chunk
    os.close(ours)
    return seen.decode()
