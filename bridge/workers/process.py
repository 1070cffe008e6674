"""One worker: its place, its bridge process, and the pipe on which that names the port of its endpoint."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from bridge.clock import monotonic
from bridge.settings import Settings
from bridge.workers.restarts import Lives

PORT_FD = "--worker-port-fd"
"""The hidden option of ``run`` that makes it a worker."""
_LONGEST_PORT = 16
_PR_SET_PDEATHSIG = 1
"""From Linux's ``sys/prctl.h``."""


def command(settings: Settings, arguments: Sequence[str], number: int, port_fd: int) -> list[str]:
    """The command line of a worker: that of the parent, with later options that replace some of it."""
    own = {"workers": "1", "http.host": "127.0.0.1", "http.port": "0"}
    if settings.instance is not None:
        own["instance"] = f"{settings.instance}-{number}"
    options = [part for key, value in own.items() for part in ("--set", f"{key}={value}")]
    return [sys.executable, "-P", "-m", "bridge", *arguments, "--workers", "1", *options, PORT_FD, str(port_fd)]


def tell_port(port_fd: int, port: int) -> None:
    """In a worker: name the port of the endpoint to the parent."""
    with suppress(OSError):  # the parent has ended
        os.write(port_fd, f"{port}\n".encode())
        os.close(port_fd)


def end_with_parent(port_fd: int) -> None:
    """In a worker: shut down gracefully when the parent ends, also when it is killed, or was before this call."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    pipe = select.poll()
    pipe.register(port_fd, 0)
    if pipe.poll(0):  # an error: nobody can read the pipe
        os.kill(os.getpid(), signal.SIGTERM)


@dataclass(slots=True)
class WorkerProcess:
    """A running worker. Thread rule: the main thread; ``port`` is for any thread."""

    pid: int
    read_fd: int
    started_at: float = field(default_factory=monotonic)
    port: int | None = None
    """Of its HTTP endpoint, once it listens."""

    @classmethod
    def start(
        cls, settings: Settings, arguments: Sequence[str], number: int, environ: Mapping[str, str]
    ) -> WorkerProcess:
        """Start a worker. Raises ``OSError``.

        ``environ``: without the service manager's socket, which is the parent's own.
        """
        read_fd, write_fd = os.pipe()
        try:
            os.set_inheritable(write_fd, True)  # noqa: FBT003 - its only argument
            os.set_blocking(read_fd, False)
            line = command(settings, arguments, number, write_fd)
            # In a group of its own: Ctrl-C on a terminal reaches only the parent, which forwards it. Two signals would
            # mean an immediate stop.
            pid = os.posix_spawn(sys.executable, line, {**environ}, setpgroup=0)
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        return cls(pid, read_fd)

    def read_port(self) -> bool:
        """Whether the worker has just named its port."""
        if self.port is not None:
            return False
        with suppress(BlockingIOError):
            text = os.read(self.read_fd, _LONGEST_PORT)
            self.port = int(text) if text.endswith(b"\n") else None
        return self.port is not None

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def close(self) -> None:
        os.close(self.read_fd)


@dataclass(slots=True)
class Slot:
    """The place of one worker. Thread rule: the main thread; other threads read single fields."""

    number: int
    process: WorkerProcess | None = None
    lives: Lives = field(default_factory=Lives)
    starts: int = 0
    start_at: float = 0.0
    fails_since: float | None = None
    """When ``/livez`` was not good for the first time in a row; None: it was good at the last look."""
    is_ready: bool = False
    wants_reload: bool = False
    """SIGHUP came before the worker could take it."""

    def looked(self, now: float, *, is_well: bool) -> float:
        """Note a look at ``/livez``; returns the seconds for which each look has found it bad.

        Only looks count: while the whole machine or container is paused, nobody looks, and nobody can answer.
        """
        if is_well:
            self.fails_since = None
            return 0.0
        self.fails_since = now if self.fails_since is None else self.fails_since
        return now - self.fails_since
