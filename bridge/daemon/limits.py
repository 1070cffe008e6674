"""What the system lets this process have."""

from __future__ import annotations

import ctypes
import resource

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
