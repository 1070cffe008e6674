"""What the system lets this process have."""

from __future__ import annotations

import ctypes
import resource
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
