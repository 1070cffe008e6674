"""Adapts the limits of this process to thousands of reader threads."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
import threading

from structlog.stdlib import get_logger

log = get_logger("bridge.daemon")

_GC_THRESHOLDS = (50_000, 20, 50)
"""Objects and generations between two searches for cycles. Records in flight form no cycles, but with Python's default
of 700 each of them is visited again and again: a tenth of the processor time at full speed."""
_M_ARENA_MAX = -8
"""From glibc's ``malloc.h``."""
_ARENAS = 2
_STACK_BYTES = 1024 * 1024
"""Of each new Python thread, instead of the usual 8 MiB. A reader touches 16 KiB of it either way. But 5,000 readers
would reserve 40 GiB of addresses, which strict limits refuse (``ulimit -v``, ``vm.overcommit_memory=2``), and where the
kernel uses huge pages for all memory, a stack larger than one huge page may get one, all 2 MiB of it."""
_SHORTEST_SWITCH = 0.005
"""Python's default, in seconds."""
_SWITCH = 500e-6
"""Seconds per reader."""


def prepare_process() -> None:
    """Set all limits that do not depend on the number of sessions."""
    gc.set_threshold(*_GC_THRESHOLDS)
    limit_malloc_arenas()
    threading.stack_size(_STACK_BYTES)
    raise_open_files()


def raise_open_files() -> None:
    """Raise the soft limit of open files to the hard one: each session needs one, and 1024 is a common soft limit.

    Never fails: where it is not allowed, the sessions beyond the limit report it themselves.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS has an unlimited hard limit, and does not grant it
        return
    log.info("raised the limit of open files", before=soft, now=hard)


def limit_malloc_arenas() -> None:
    """Let all threads share two memory arenas of glibc instead of up to eight per core.

    Memory that one reader frees is then used by another. Measured with 100 readers and a slow Kafka: memory grew by 24
    MiB in 100 s, and by 40 MiB without this. Other C libraries have no such setting; nothing happens there.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
    except (AttributeError, OSError):
        return


def set_switch_interval(readers: int) -> None:
    """Set how long a thread may keep the interpreter while others wait: Python's default up to ten readers.

    Each waiting thread wakes up after this time, finds the interpreter in use, and waits again, for about 6 us of
    processor time. So all of them together may wake up 2,000 times a second. With 20,000 times (75 ms for 1,500
    readers), a tenth of a core carried 160 events/s of 1,500 sessions, and nothing but wake-ups; with 2,000 times 1,090
    events/s. A reader waits for the network or a lock every few milliseconds, so others seldom wait for so long.
    Any thread.
    """
    sys.setswitchinterval(max(_SHORTEST_SWITCH, readers * _SWITCH))
