"""What is compared: how each bridge is started on the same server, topic and sessions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.support.process import MIX_BRIDGE, REPOSITORY, environment
from tests.support.processes import spawn

OWNER = "x-process"
"""A request header in which each process of several names itself to the server."""


class Course(NamedTuple):
    """What one run has to copy, from where to where."""

    folder: Path
    url: str
    sessions: Sequence[str]
    bootstrap: str
    namespace: str

    @property
    def topic(self) -> str:
        """The topic of the events."""
        return f"{self.namespace}.events"


class Contender(NamedTuple):
    """One way to bridge. ``start`` gives its processes, which share the sessions."""

    start: Callable[[Course], list[subprocess.Popen[bytes]]]
    is_transactional: bool = False
    """Its transactions take offsets in the topic as well."""


Contenders = Mapping[str, Contender]


def naive(course: Course) -> list[subprocess.Popen[bytes]]:
    """Start the bridge that a user would write."""
    arguments = [course.url, course.bootstrap, course.topic, *course.sessions]
    command = [sys.executable, "-m", "tests.benchmarks.naive", *arguments]
    return [spawn(command, log=course.folder / "naive.log", env=environment({}), cwd=REPOSITORY)]


def ours(
    course: Course, sources: Path = REPOSITORY, processes: int = 1, guarantee: str | None = None
) -> list[subprocess.Popen[bytes]]:
    """Start mix-bridge with its defaults: validation, envelope and checkpoints are on."""
    settings = {
        "namespace": course.namespace,
        "kafka.bootstrap_servers": course.bootstrap,
        "servers.load.url": course.url,
        "servers.load.sessions": list(course.sessions),
        "servers.load.discover": False,
        "http.port": 0,
        **({} if guarantee is None else {"delivery.guarantee": guarantee}),
    }
    started = []
    for number in range(processes):
        variables = environment({**settings, f"servers.load.headers.{OWNER}": number}) | {"PYTHONPATH": str(sources)}
        log = course.folder / f"ours-{number}.log"
        started.append(spawn([*MIX_BRIDGE, "run"], log=log, env=variables, cwd=sources))
    return started


def beside_naive(before: Path | None) -> Contenders:
    """What runs in turns: a naive bridge and ours; with the sources of an earlier version, that one as well."""
    both: Contenders = {"naive": Contender(naive), "ours": Contender(ours)}
    return both if before is None else {**both, "before": Contender(partial(ours, sources=before))}


def guarantees() -> Contenders:
    """Both guarantees, each by one process and by two that share the sessions."""
    found = {}
    for processes in (1, 2):
        for guarantee in ("at_least_once", "exactly_once"):
            start = partial(ours, processes=processes, guarantee=guarantee)
            name = f"{guarantee.replace('_', ' ')}, {processes} process{'es' * (processes > 1)}"
            found[name] = Contender(start, is_transactional=guarantee == "exactly_once")
    return found
