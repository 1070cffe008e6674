"""Programs with real limits of the kernel, as a user that they apply to."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.process import MIX_BRIDGE

_READ = "-all,+dac_read_search,+dac_override"
"""Capabilities with which another user reads the files of this one; none of them lifts a limit."""


def with_threads(count: int) -> tuple[str, ...]:
    """The bridge with ``ulimit -u``, which allows it so many threads. Root is exempt, so it runs as another user."""
    if os.getuid() != 0:
        return ("prlimit", f"--nproc={count + _threads_of_this_user()}", *MIX_BRIDGE)
    user = str(100_000 + os.getpid())  # nobody else: the limit counts all processes of the user
    drop = ("setpriv", "--reuid", user, "--clear-groups", "--inh-caps", _READ, "--ambient-caps", _READ)
    return ("prlimit", f"--nproc={count}", *drop, "--bounding-set", _READ, *MIX_BRIDGE)


def with_files(count: int) -> tuple[str, ...]:
    """The bridge with ``ulimit -n``."""
    return ("prlimit", f"--nofile={count}:{count}", *MIX_BRIDGE)


def _threads_of_this_user() -> int:
    found = (each for each in Path("/proc").glob("[0-9]*/task/*") if each.stat().st_uid == os.getuid())
    return sum(1 for _ in found)
