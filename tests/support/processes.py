"""Start child processes that can never outlive the tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import IO

from tests.support.forked import FORKED, ForkServer, Process
from tests.support.repository import REPOSITORY

_LEASH = ("setpriv", "--pdeathsig", "KILL")

# Two threads that start the first child at the same time would create two spawners; the lost one would kill its child.
_LOCK = threading.Lock()


@lru_cache(maxsize=1)
def _spawner() -> ThreadPoolExecutor:
    """One thread that starts every child and lives as long as this process.

    The kernel binds the parent-death signal to the *thread* that started the child: a child that a test's thread
    started would be killed when that thread ends, although the test continues.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


_FORK = threading.Event()


def fork_from_now_on() -> None:
    """Fork the commands of this project instead of executing them: for tests, not for measurements."""
    _FORK.set()


@lru_cache(maxsize=1)
def _fork_server() -> ForkServer:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with there:
        server = [*_LEASH, sys.executable, "-m", "tests.support.fork_server", str(there.fileno())]
        process = subprocess.Popen(server, stdin=subprocess.DEVNULL, cwd=REPOSITORY, pass_fds=[there.fileno()])
    return ForkServer(here, process)


def start(
    command: Sequence[str], stdout: IO[bytes], stderr: IO[bytes], env: Mapping[str, str] | None, cwd: Path | None
) -> Process:
    """Start ``command``; the kernel kills it when this process ends."""
    module = FORKED.get(tuple(command[:3])) if _FORK.is_set() and not _configures_python(env or os.environ) else None

    def start() -> Process:
        if module is None:
            return subprocess.Popen(
                [*_LEASH, *command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=None if env is None else dict(env),
                cwd=cwd,
            )
        with Path(os.devnull).open("rb") as nothing:
            streams = (nothing.fileno(), stdout.fileno(), stderr.fileno())
            return _fork_server().start((module, command[3:]), env or os.environ, cwd, streams)

    with _LOCK:
        spawner = _spawner()
    return spawner.submit(start).result()


def _configures_python(env: Mapping[str, str]) -> bool:
    """Whether a variable such as PYTHONIOENCODING works at the start of an interpreter only."""
    return any(name.startswith("PYTHON") and name not in {"PYTHONPATH", "PYTHONWARNINGS"} for name in env)


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: Path | None = None,
) -> Process:
    """Start ``command``; the kernel kills it when this process ends. ``log`` gets its output, except for ``stdout``."""
    with log.open("ab") as errors, (stdout or log).open("ab") as output:
        return start([*map(str, command)], output, errors, env, cwd)
