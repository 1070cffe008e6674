"""How many threads and file descriptors the system lets this process have. Without /proc no limit is known."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/")
_OVERRIDES = (1 << 24) | (1 << 21)
"""``CAP_SYS_RESOURCE`` and ``CAP_SYS_ADMIN``: with one of them the kernel does not enforce ``ulimit -u``."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The most threads, or descriptors, that this process can have, and what limits them."""

    most: int
    name: str


def thread_limit(root: Path = _ROOT) -> Limit | None:
    """The strictest limit of threads; None if none is known.

    What other processes of the same user, container or machine use now is not available to this one.
    """
    own = int(_status(root / "proc/self", "Threads") or 1)
    limits = (*_cgroup_limits(root, own), *_user_limit(root, own), *_machine_limits(root, own))
    return min(limits, key=lambda limit: limit.most, default=None)


def descriptor_limit() -> Limit | None:
    """The limit of open files, which :func:`bridge.daemon.limits.raise_open_files` has raised before."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else Limit(soft, "open files (ulimit -n, LimitNOFILE)")


def _cgroup_limits(root: Path, own: int) -> Iterator[Limit]:
    """``pids.max`` of this process's cgroup and of those around it; it counts threads."""
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":  # version 2
            mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif "pids" in controllers.split(","):
            mounts = [root / "sys/fs/cgroup/pids"]
        else:
            continue
        for mount in mounts:
            yield from _pids_limits(mount, path, own)


def _pids_limits(mount: Path, path: str, own: int) -> Iterator[Limit]:
    """The limits from a cgroup up to its mount, which in a container is the container's own cgroup."""
    inner = mount / path.lstrip("/")
    for group in [inner, *inner.parents]:
        most, used = _number(group / "pids.max"), _number(group / "pids.current")
        if most is not None and used is not None:
            yield Limit(most - used + own, "pids.max of the cgroup (TasksMax, --pids-limit, podPidsLimit)")
        if group == mount:
            return


def _user_limit(root: Path, own: int) -> Iterator[Limit]:
    """``ulimit -u``, which counts the threads of all processes of the user."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    uid = os.getuid()
    if soft == resource.RLIM_INFINITY or uid == 0 or int(_status(root / "proc/self", "CapEff") or "0", 16) & _OVERRIDES:
        return
    used = sum(_threads_of(each, uid) for each in (root / "proc").glob("[0-9]*"))
    yield Limit(soft - max(used, own) + own, "processes of the user (ulimit -u, LimitNPROC)")


def _machine_limits(root: Path, own: int) -> Iterator[Limit]:
    words = " ".join(_lines(root / "proc/loadavg")).split()
    used = int(words[3].partition("/")[2]) if len(words) > 3 else 0  # noqa: PLR2004 - "0.1 0.1 0.1 running/all last"
    for name in ("threads-max", "pid_max"):
        most = _number(root / "proc/sys/kernel" / name)
        if most is not None:
            yield Limit(most - used + own, f"kernel.{name.replace('-', '_')} of the machine")


def _threads_of(process: Path, uid: int) -> int:
    is_mine = _status(process, "Uid").split()[:1] == [str(uid)]
    return int(_status(process, "Threads") or 0) if is_mine else 0


def _status(process: Path, name: str) -> str:
    """A field of a process's status; empty if there is none."""
    found = (line.partition(":")[2] for line in _lines(process / "status") if line.startswith(f"{name}:"))
    return next(found, "").strip()


def _number(file: Path) -> int | None:
    """The number in a file; None if there is no such file, or for the word ``max``."""
    with suppress(ValueError):
        return int(" ".join(_lines(file)))
    return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:  # it does not exist here, or its process has ended
        return []
