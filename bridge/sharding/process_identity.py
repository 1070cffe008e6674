"""The identity of this process, and whether another process on this machine is dead.

A killed process stays in its group until the session time-out. Its successor on the same machine need not wait for
that, because the kernel knows. Nothing is known of processes elsewhere, or where there is no ``/proc``.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

_PROC = Path("/proc")


def this_process() -> str:
    """``<boot id>/<PID namespace>/<process id>/<start time>``: unique for ever, on all machines."""
    here, start = _here(), _start_of(os.getpid())
    if here is None or start is None:
        return uuid.uuid4().hex
    return f"{here}/{os.getpid()}/{start}"


def is_dead(run: str) -> bool:
    """Whether that process is known to be dead; False when nothing is known."""
    parts = run.rsplit("/", 2)
    if len(parts) != 3 or parts[0] != _here() or not parts[1].isdecimal():  # noqa: PLR2004 - as written above
        return False
    return _start_of(int(parts[1])) != parts[2]


def _here() -> str | None:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = (_PROC / "self/ns/pid").stat().st_ino
    except OSError:
        return None
    return f"{boot}/{namespace}"


def _start_of(process: int) -> str | None:
    """The start time in ticks since the boot; None for no process, or a dead one that was not reaped yet."""
    try:
        # The second field is the name: in brackets, with any characters.
        fields = (_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
