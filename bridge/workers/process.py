"""One worker: its place, its bridge process with the pipe on which it names its port, and when it is started again."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from bridge.clock import Backoff, monotonic
from bridge.errors import EXIT_FATAL, EXIT_SETTINGS, EXIT_UNREACHABLE, EXIT_USAGE
from bridge.settings import Settings

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


BACKOFF: Final = Backoff(0.5, 15.0)
"""Seconds before a worker is started again; doubled after each short life."""
SHORT_LIFE: Final = 60.0
"""Seconds: a worker that ends earlier does so again, probably."""
MOST_SHORT_LIVES: Final = 6
"""Short lives in a row, of one worker, after which the parent ends: with the back-off about half a minute."""
FINAL: Final = {EXIT_SETTINGS: EXIT_SETTINGS, EXIT_USAGE: EXIT_SETTINGS, EXIT_UNREACHABLE: EXIT_UNREACHABLE}
"""Exit codes of a worker whose first start fails for good, and the parent's exit code then.

At a later start they do not end the parent: the other workers continue while Kafka or the servers are away, or while
the settings file is being edited, and an end of all would throw away what they have read.
"""


@dataclass(frozen=True, slots=True)
class StartAgain:
    """Start the worker after this time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Shut all workers down, and end with this code."""

    code: int


@dataclass(frozen=True, slots=True)
class Lives:
    """The past of one worker: an earlier life never counts after one that was long enough."""

    short: int = 0
    failed_starts: int = 0
    """Starts in a row that failed for a reason that another start does not remove."""
    is_first: bool = True

    def ended(self, code: int, seconds: float) -> tuple[StartAgain | GiveUp, Lives]:
        """What follows an end that nobody asked for; ``code`` is negative for a signal."""
        has_failed = code in FINAL
        if has_failed and self.is_first:
            return GiveUp(FINAL[code]), self
        short = self.short + 1 if seconds < SHORT_LIFE and not has_failed else 0
        failed_starts = self.failed_starts + 1 if has_failed else 0
        lives = replace(self, short=short, failed_starts=failed_starts, is_first=False)
        if short >= MOST_SHORT_LIVES:
            return GiveUp(EXIT_FATAL), lives
        return StartAgain(BACKOFF.delay(max(0, short + failed_starts - 1))), lives


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
