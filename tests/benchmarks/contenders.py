"""The bridges under comparison, each started on the same server, topic and sessions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.support.forked import Process
from tests.support.process import MIX_BRIDGE, environment
from tests.support.processes import spawn
from tests.support.repository import REPOSITORY

OWNER = "x-process"
"""A request header with the number of the process, for runs with several."""


class RunSettings(NamedTuple):
    """The source and the target of one run."""

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
    """One bridge. ``start`` returns its processes, which share the sessions."""

    start: Callable[[RunSettings], list[Process]]
    workers: int = 1
    """Processes that its first one starts; these too share the sessions."""
    is_transactional: bool = False
    """The markers of its transactions use offsets in the topic too."""


Contenders = Mapping[str, Contender]


def naive(run: RunSettings) -> list[Process]:
    """Start the bridge that a user would write."""
    arguments = [run.url, run.bootstrap, run.topic, *run.sessions]
    command = [sys.executable, "-m", "tests.benchmarks.naive", *arguments]
    return [spawn(command, log=run.folder / "naive.log", env=environment({}), cwd=REPOSITORY)]


def ours(
    run: RunSettings, sources: Path = REPOSITORY, processes: int = 1, guarantee: str | None = None, workers: int = 1
) -> list[Process]:
    """Start mix-bridge with its defaults: validation, envelope and checkpoints are on."""
    settings = {
        "namespace": run.namespace,
        "kafka.bootstrap_servers": run.bootstrap,
        "servers.load.url": run.url,
        "servers.load.sessions": list(run.sessions),
        "servers.load.discover": False,
        "http.port": 0,
        "workers": workers,
        **({} if guarantee is None else {"delivery.guarantee": guarantee}),
    }
    started = []
    for number in range(processes):
        variables = environment({**settings, f"servers.load.headers.{OWNER}": number}) | {"PYTHONPATH": str(sources)}
        log = run.folder / f"{run.namespace}-{number}.log"
        started.append(spawn([*MIX_BRIDGE, "run"], log=log, env=variables, cwd=sources))
    return started


def beside_naive(before: Path | None) -> Contenders:
    """A naive bridge and ours, in alternating runs; with the sources of an earlier version, that one too."""
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


def with_workers() -> Contenders:
    """One process, and one parent with two workers."""
    return {f"--workers {count}": Contender(partial(ours, workers=count), workers=count) for count in (1, 2)}
