"""Which process this is, and whether another one of this machine is dead.

A process that was killed stays in its group until the session time-out. Its successor on the same machine need not wait
for that: the kernel knows. Elsewhere, and where there is no ``/proc``, nothing is known.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

_PROC = Path("/proc")


def this_process() -> str:
    """``<boot>/<namespace of process ids>/<process id>/<start>``: no other process, ever, anywhere, is called so."""
    here, start = _here(), _start_of(os.getpid())
    if here is None or start is None:
        return uuid.uuid4().hex
    return f"{here}/{os.getpid()}/{start}"


def is_dead(run: str) -> bool:
    """Whether that process is known to be gone; False when nobody here knows."""
    parts = run.rsplit("/", 2)
    if len(parts) != 3 or parts[0] != _here() or not parts[1].isdecimal():  # noqa: PLR2004 - as it is written above
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
    """In ticks since the boot; None for a process that is not there, or is dead and not yet reaped."""
    try:
        # The name, second of the fields, is in brackets and may hold anything.
        fields = (_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
