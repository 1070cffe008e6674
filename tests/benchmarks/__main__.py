"""Compare mix-bridge with a naive bridge, side by side on a real Kafka: ``make bench``, ``make bench ARGS=--quick``.

Rounds alternate between the two, so that a machine that gets slower or quicker meanwhile does it to both.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.contenders import Contenders, Course, contenders
from tests.benchmarks.measure import Measured, Stalled, measure
from tests.benchmarks.report import Row, footnotes, table
from tests.kafka.broker import FULL_SPEED, Broker
from tests.kafka.process import REPOSITORY, environment
from tests.kafka.topics import create_topic, delete_topics
from tests.processes import spawn
from tests.waiting import wait_until

EVENT_BYTES = 150
PARTITIONS = 8


class Scenario(NamedTuple):
    """One line of the comparison."""

    sessions: int
    per_write: int


SCENARIOS = tuple(Scenario(*one) for one in itertools.product((1, 100), (1, 100)))


def main(arguments: Sequence[str]) -> int:
    """Run all scenarios and print the table; 1 when a run did not come to its end."""
    options = _options(arguments)
    measured: dict[Row, list[Measured]] = defaultdict(list)
    chosen = contenders(options.before)
    if options.only:
        chosen = {options.only: chosen[options.only]}
    with tempfile.TemporaryDirectory(prefix="mix-bridge-bench-") as folder, _broker(Path(folder)) as broker:
        _warm_up(Path(folder), broker, chosen)
        for row, number in _runs(options, chosen):
            print(f"{row} round {number + 1}", file=sys.stderr, flush=True)
            try:
                measured[row].append(_run(Path(folder), broker, row, chosen, options.events))
            except Stalled as failure:
                print(f"{row}: {failure}", file=sys.stderr)
                return 1
    print(table(measured))
    print(footnotes(options.events, options.rounds, EVENT_BYTES))
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer events, one round: a look, not a measurement")
    parser.add_argument("--events", type=int, help="events of one run, all sessions together")
    parser.add_argument("--rounds", type=int, help="runs of each bridge in each scenario; the median counts")
    parser.add_argument("--only", choices=("naive", "ours"), help="measure one bridge alone")
    parser.add_argument("--sessions", type=int, choices=(1, 100), help="scenarios with so many sessions alone")
    parser.add_argument(
        "--before", type=Path, metavar="FOLDER", help="a checkout of an earlier version, to run as well"
    )
    options = parser.parse_args(arguments)
    if options.before is not None and not (options.before / "bridge").is_dir():
        parser.error(f"--before: no bridge in {options.before}")
    options.events = options.events or (50_000 if options.quick else 200_000)
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


def _warm_up(folder: Path, broker: Broker, chosen: Contenders) -> None:
    """Let the broker compile its code before anybody is measured, or the first bridge pays for it."""
    _run(folder, broker, Row(1, 100, next(iter(chosen))), chosen, 100_000)


def _runs(options: argparse.Namespace, chosen: Contenders) -> Iterator[tuple[Row, int]]:
    for scenario in SCENARIOS:
        if options.sessions not in {None, scenario.sessions}:
            continue
        for number, name in itertools.product(range(options.rounds), chosen):
            yield Row(scenario.sessions, scenario.per_write, name), number


@contextmanager
def _broker(folder: Path) -> Iterator[Broker]:
    with Broker(folder / "kafka", jvm=FULL_SPEED, heap="1g") as broker:
        yield broker


def _run(folder: Path, broker: Broker, row: Row, chosen: Contenders, events: int) -> Measured:
    namespace = f"bench-{next(_serial)}"
    each = events // row.sessions
    with _load_server(folder, row, each) as (server, url):
        course = Course(folder, url, _sessions(url), broker.bootstrap, namespace)
        create_topic(broker.bootstrap, course.topic, PARTITIONS)
        bridge = chosen[row.bridge](course)
        try:
            pids = {"bridge": bridge.pid, "server": server.pid, "broker": broker.pid}
            return measure(broker.bootstrap, course.topic, each * row.sessions, pids)
        finally:
            _end(bridge)
            delete_topics(broker.bootstrap, course.topic)


_serial = itertools.count(1)


@contextmanager
def _load_server(folder: Path, row: Row, events: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    said = folder / f"server-{next(_serial)}"
    how = {
        "--port": 0,
        "--sessions": row.sessions,
        "--events": events,
        "--per-write": row.per_write,
        "--event-bytes": EVENT_BYTES,
        "--rate": 0,
        "--heartbeat": 0,
    }
    options = [str(part) for option in how.items() for part in option]
    command = [sys.executable, "-m", "bridge.demo.mix_server", "--load", *options]
    server = spawn(command, log=folder / "server.log", stdout=said, env=environment({}), cwd=REPOSITORY)
    try:
        yield server, wait_until(said.read_text, 15, "the load server's address").strip()
    finally:
        _end(server)


def _sessions(url: str) -> list[str]:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{url}/api/sessions", timeout=10) as listed:
        return [session["id"] for session in json.load(listed)]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    os.chdir(REPOSITORY)
    sys.exit(main(sys.argv[1:]))
