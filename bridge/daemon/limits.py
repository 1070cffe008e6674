"""What the system lets this process have."""

from __future__ import annotations

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
