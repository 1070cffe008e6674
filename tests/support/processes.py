"""Start child processes that can never outlive the tests."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

# Two threads that start the first child at the same time would create two spawners; the lost one would kill its child.
_LOCK = threading.Lock()


@lru_cache(maxsize=1)
def _spawner() -> ThreadPoolExecutor:
    """One thread that starts every child and lives as long as this process.

    The kernel binds the parent-death signal to the *thread* that started the child: a child that a test's thread
    started would be killed when that thread ends, although the test continues.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``command``; the kernel kills it when this process ends. ``log`` gets its output, except for ``stdout``."""
    leash = ["setpriv", "--pdeathsig", "KILL"]

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as errors, (stdout or log).open("ab") as output:
            return subprocess.Popen(
                [*leash, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=None if env is None else dict(env),
                cwd=cwd,
            )

    with _LOCK:
        spawner = _spawner()
    return spawner.submit(start).result()
