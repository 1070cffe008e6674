"""One run of one bridge: a load server, a topic, the processes, the measurement, and the end of all of it."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.contenders import Contender, RunSettings
from tests.benchmarks.measure import Measured, measure
from tests.benchmarks.report import Row
from tests.servers.programs import load_server
from tests.support.broker import Broker
from tests.support.forked import Process
from tests.support.process import environment
from tests.support.processes import spawn
from tests.support.repository import REPOSITORY
from tests.support.topics import create_topic, delete_topics, read_topic
from tests.support.waiting import TIMEOUT, wait_until

EVENT_BYTES = 150
PARTITIONS = 8

_serial = itertools.count(1)


class Bench(NamedTuple):
    """The folder and the broker of all runs."""

    folder: Path
    broker: Broker


def run(bench: Bench, row: Row, contender: Contender, events: int, *, held: bool = False) -> Measured:
    """Measure one bridge; ``held``: the server is silent until all sessions are read and shared by the processes."""
    folder, broker = bench
    each = events // row.sessions
    with _load_server(folder, row, each, held=held) as (server, url):
        settings = RunSettings(folder, url, _sessions(url), broker.bootstrap, f"bench-{next(_serial)}")
        create_topic(broker.bootstrap, settings.topic, PARTITIONS)
        bridge = contender.start(settings)
        try:
            if held:
                wait_until(lambda: _is_shared(url, row.sessions, len(bridge)), 180, "shared sessions", 0.1)
                wait_until(lambda: _share_workers(settings, contender.workers), 180, "workers with sessions", 0.1)
                _call(f"{url}/start", method="POST")
            pids = {
                "bridge": [pid for one in bridge for pid in _family(one.pid)],
                "server": [server.pid],
                "broker": [broker.pid],
            }
            return _counted(settings, contender, each * row.sessions, pids)
        finally:
            for process in bridge:
                process.terminate()
            for process in bridge:
                _end(process)
            delete_topics(broker.bootstrap, settings.topic)


def _counted(settings: RunSettings, contender: Contender, expected: int, pids: dict[str, list[int]]) -> Measured:
    measured = measure(settings.bootstrap, settings.topic, expected, pids, markers=contender.is_transactional)
    if contender.is_transactional:  # offsets count the markers of transactions too
        records = len(read_topic(settings.bootstrap, settings.topic))
        assert records == expected, f"{records} committed records of {expected} events"
    return measured


def _is_shared(url: str, sessions: int, processes: int) -> bool:
    """Return whether each session has a reader, and each process has at least half of its share."""
    readers = [count for count in _call(f"{url}/readers").values() if count]
    least = sessions // processes // 2
    return sum(readers) == sessions and len(readers) == processes and min(readers) >= least


def _share_workers(settings: RunSettings, workers: int) -> bool:
    """Return whether each worker of the bridge has at least half of its share."""
    if workers == 1:
        return True
    log = (settings.folder / f"{settings.namespace}-0.log").read_text()
    ports = re.findall(r'"http endpoint listens".*"port": (\d+)', log)
    found = _call(f"http://127.0.0.1:{ports[-1]}/api/status")["sessions"] if ports else []
    owners = Counter(each["worker"] for each in found)
    return len(owners) == workers and min(owners.values()) >= len(settings.sessions) // workers // 2


def _family(pid: int) -> list[int]:
    """Return a process and those that it has started."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


@contextmanager
def _load_server(folder: Path, row: Row, events: int, *, held: bool) -> Iterator[tuple[Process, str]]:
    output = folder / f"server-{next(_serial)}"
    how = {"-sessions": row.sessions, "-events": events, "-per-write": row.per_write, "-event-bytes": EVENT_BYTES}
    options = [str(part) for option in how.items() for part in option]
    command = [*load_server().command, *options, *(["-held"] if held else [])]
    server = spawn(command, log=folder / "server.log", stdout=output, env=environment({}), cwd=REPOSITORY)
    try:
        yield server, wait_until(output.read_text, 15, "the load server's address").strip()
    finally:
        server.terminate()
        _end(server)


def _sessions(url: str) -> Sequence[str]:
    return [session["id"] for session in _call(f"{url}/api/sessions")]


def _call(address: str, method: str = "GET") -> Any:
    request = urllib.request.Request(address, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=TIMEOUT) as answer:
        return json.loads(answer.read() or b"null")


def _end(process: Process) -> None:
    try:
        process.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
