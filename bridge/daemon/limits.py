"""What the system lets this process have."""

from __future__ import annotations

import ctypes
import resource
import sys
import threading

from structlog.stdlib import get_logger

log = get_logger("bridge.daemon")


def raise_open_files() -> None:
    """Allow as many open files as the system lets us: each session is one, and 1024 is a usual first limit.

    Never fails: where it is not allowed, the sessions beyond the limit say so themselves.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS has an unlimited hard limit, and does not grant it
        return
    log.info("raised the limit of open files", before=soft, now=hard)


_M_ARENA_MAX = -8
"""Of glibc's ``malloc.h``."""
_ARENAS = 2


def share_memory_among_threads() -> None:
    """Let all threads take memory from two pools of the C library instead of up to eight for each core.

    What one reader frees another then uses. Measured with 100 readers and a slow Kafka: memory grew by 40 MiB in 100 s,
    and by 24, most of it at the start, so. Only glibc knows this; elsewhere nothing happens.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
    except (AttributeError, OSError):
        return


_STACK = 1024 * 1024
"""Bytes of stack of each thread: what Python itself asks for where the system's own choice is too small for it."""


def keep_stacks_small() -> None:
    """Give each new thread of Python's a stack of 1 MiB instead of the usual 8.

    A reader touches 16 KiB of it either way. What counts is the rest: 5,000 readers would reserve 40 GiB of addresses,
    which strict limits refuse (``ulimit -v``, ``vm.overcommit_memory=2``), and where the kernel gives huge pages to
    everybody, a stack that is larger than one may get one, all 2 MiB of it.
    """
    threading.stack_size(_STACK)


_SHORTEST_TURN = 0.005
"""Python's own, in seconds."""
_TURN_OF_EACH = 50e-6


def turn_of(readers: int) -> float:
    """Seconds that a thread may keep the interpreter while others wait for it.

    Whoever waits looks again after this time, so thousands of readers that have something to read at once are that many
    times two hundred looks a second, and nothing else gets done. Measured with 800: 5.7 s for what takes 1.4 s with 50
    ms, most of it in the kernel; with 4,000 it did not end in 100 s, and took 6.9 s with 500 ms.
    """
    return max(_SHORTEST_TURN, readers * _TURN_OF_EACH)


def share_interpreter_among(readers: int) -> None:
    """See ``turn_of``. Up to a hundred readers nothing changes. Any thread."""
    sys.setswitchinterval(turn_of(readers))
