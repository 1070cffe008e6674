"""What a process uses of the machine, from ``/proc``."""

from __future__ import annotations

import os
from pathlib import Path


def memory(pid: int, which: str = "VmRSS") -> int:
    """Return bytes: resident now (``VmRSS``), or at most (``VmHWM``)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{which}:")).split()[1]) * 1024


def processor_time(pid: int) -> float:
    """Return seconds, user and system."""
    # The command's name in brackets may hold blanks; utime and stime are the 12th and 13th field behind it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
