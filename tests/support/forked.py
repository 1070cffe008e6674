"""Commands of this project in forks of one process that has imported them: see ``tests.support.fork_server``."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

FORKED: dict[tuple[str, ...], str] = {
    (sys.executable, "-m", "bridge"): "bridge",
    (sys.executable, "-m", "bridge.simulator"): "bridge.simulator",
    (sys.executable, "-m", "tests.support.dying_bridge"): "tests.support.dying_bridge",
}
"""The beginnings of commands that are forked, with their modules."""

_STARTED = 60.0
"""Seconds for the imports of the server, on a busy machine."""


class Process(Protocol):
    """What the tests use of ``subprocess.Popen``."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int, /) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Forked:
    """A child of the fork server. May be used by several threads."""

    def __init__(self, reply: socket.socket) -> None:
        self._reply = reply
        self._lock = threading.Lock()
        self.returncode: int | None = None
        reply.settimeout(_STARTED)
        self.pid = int(reply.recv(32) or b"0")
        if not self.pid:
            raise RuntimeError("the fork server ended")

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code; TimeoutExpired if it still runs."""
        with self._lock:
            if self.returncode is None:
                self._reply.settimeout(timeout)
                try:
                    code = self._reply.recv(32)
                except (TimeoutError, BlockingIOError):
                    raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0) from None
                self._reply.close()
                self.returncode = int(code) if code else -signal.SIGKILL  # with the server all its children end
            return self.returncode

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The socket of a fork server. May be used by several threads."""

    def __init__(self, control: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self._control = control
        self._process = process  # a reference: Popen objects complain when they are collected before their process ends
        self._lock = threading.Lock()

    def start(
        self,
        command: tuple[str, Sequence[str]],
        env: Mapping[str, str],
        cwd: Path | None,
        streams: tuple[int, int, int],
    ) -> Forked:
        """Run a module with these arguments and descriptors for its standard streams."""
        module, arguments = command
        folder = str(cwd or Path.cwd())
        request = {"module": module, "arguments": list(arguments), "environment": dict(env), "folder": folder}
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there, self._lock:
            socket.send_fds(self._control, [json.dumps(request).encode()], [*streams, there.fileno()])
        return Forked(here)
