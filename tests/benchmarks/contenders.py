"""What is compared: how each bridge is started on the same server, topic and sessions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.kafka.process import MIX_BRIDGE, REPOSITORY, environment
from tests.processes import spawn


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


def naive(course: Course) -> subprocess.Popen[bytes]:
    """Start the bridge that a user would write."""
    arguments = [course.url, course.bootstrap, course.topic, *course.sessions]
    command = [sys.executable, "-m", "tests.benchmarks.naive", *arguments]
    return spawn(command, log=course.folder / "naive.log", env=environment({}), cwd=REPOSITORY)


def ours(course: Course, sources: Path = REPOSITORY) -> subprocess.Popen[bytes]:
    """Start mix-bridge with its defaults: validation, envelope and checkpoints are on."""
    settings = {
        "namespace": course.namespace,
        "kafka.bootstrap_servers": course.bootstrap,
        "servers.load.url": course.url,
        "servers.load.sessions": list(course.sessions),
        "servers.load.discover": False,
        "http.port": 0,
    }
    variables = environment(settings) | {"PYTHONPATH": str(sources)}
    return spawn([*MIX_BRIDGE, "run"], log=course.folder / "ours.log", env=variables, cwd=sources)


Contenders = Mapping[str, Callable[[Course], subprocess.Popen[bytes]]]


def contenders(before: Path | None) -> Contenders:
    """What runs in turns: a naive bridge and ours; with the sources of an earlier version, that one as well."""
    both: Contenders = {"naive": naive, "ours": ours}
    return both if before is None else {**both, "before": partial(ours, sources=before)}
