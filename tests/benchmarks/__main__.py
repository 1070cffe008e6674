"""How fast it is, on a real Kafka: ``make bench``, ``make bench ARGS=--quick``, ``make bench ARGS="--part latency"``.

Four parts: beside a naive bridge; both guarantees, each by one process and by two; one process and two workers; the
latency of both guarantees. Rounds alternate between those that are compared, so that a machine that gets slower or
quicker meanwhile does it to all.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.contenders import Contenders, beside_naive, guarantees, with_workers
from tests.benchmarks.latency import latencies
from tests.benchmarks.measure import Measured, Stalled
from tests.benchmarks.report import Row, footnotes, it_to, table
from tests.benchmarks.runs import EVENT_BYTES, Bench, run
from tests.support.broker import FULL_SPEED, Broker
from tests.support.repository import REPOSITORY


class Scenario(NamedTuple):
    """One line of the comparison."""

    sessions: int
    per_write: int


SCENARIOS = tuple(Scenario(*one) for one in ((1, 1), (1, 100), (10, 10), (100, 1), (100, 100)))
SHARED = (Scenario(100, 1), Scenario(100, 100))
"""Those of several processes: a session is always one process's."""
PARTS = ("naive", "guarantees", "workers", "latency")


def main(arguments: Sequence[str]) -> int:
    """Run the parts that are asked for and print their tables; 1 when a run did not come to its end."""
    options = _options(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="mix-bridge-bench-") as folder,
        Broker(Path(folder) / "kafka", jvm=FULL_SPEED, heap="1g") as broker,
    ):
        bench = Bench(Path(folder), broker)
        _warm_up(bench)
        try:
            for part in options.part or PARTS:
                print(_part(part, bench, options), end="\n\n", flush=True)
        except Stalled as failure:
            print(failure, file=sys.stderr)
            return 1
    print(footnotes(options.events, options.rounds, EVENT_BYTES))
    return 0


def _part(part: str, bench: Bench, options: argparse.Namespace) -> str:
    if part == "latency":
        return latencies(bench, options.seconds)
    if part != "naive":
        chosen = guarantees() if part == "guarantees" else with_workers()
        return table(_measured(bench, options, SHARED, chosen, held=True), it_to(next(iter(chosen))))
    chosen = beside_naive(options.before)
    if options.only:
        chosen = {options.only: chosen[options.only]}
    return table(_measured(bench, options, SCENARIOS, chosen))


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer events, one round: a look, not a measurement")
    parser.add_argument("--part", action="append", choices=PARTS, help="this part alone; may be given several times")
    parser.add_argument("--events", type=int, help="events of one run, all sessions together")
    parser.add_argument("--rounds", type=int, help="runs of each bridge in each scenario; the median counts")
    parser.add_argument("--seconds", type=float, help="of each latency")
    parser.add_argument("--only", choices=("naive", "ours"), help="measure one bridge of the first part alone")
    parser.add_argument("--sessions", type=int, choices=(1, 10, 100), help="scenarios with so many sessions alone")
    parser.add_argument(
        "--before", type=Path, metavar="FOLDER", help="a checkout of an earlier version, to run in the first part too"
    )
    options = parser.parse_args(arguments)
    if options.before is not None and not (options.before / "bridge").is_dir():
        parser.error(f"--before: no bridge in {options.before}")
    options.events = options.events or (50_000 if options.quick else 200_000)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (5.0 if options.quick else 30.0)
    return options


def _warm_up(bench: Bench) -> None:
    """Let the broker compile its code before anybody is measured, or the first bridge pays for it."""
    name, contender = next(iter(beside_naive(None).items()))
    run(bench, Row(1, 100, name), contender, 100_000)


def _measured(
    bench: Bench,
    options: argparse.Namespace,
    scenarios: Sequence[Scenario],
    chosen: Contenders,
    *,
    held: bool = False,
) -> dict[Row, list[Measured]]:
    measured: dict[Row, list[Measured]] = defaultdict(list)
    for row, number in _rows(options, scenarios, chosen):
        print(f"{row} round {number + 1}", file=sys.stderr, flush=True)
        try:
            measured[row].append(run(bench, row, chosen[row.bridge], options.events, held=held))
        except Stalled as failure:
            raise Stalled(f"{row}: {failure}") from failure
    return measured


def _rows(options: argparse.Namespace, scenarios: Sequence[Scenario], chosen: Contenders) -> Iterator[tuple[Row, int]]:
    for scenario in scenarios:
        if options.sessions not in {None, scenario.sessions}:
            continue
        for number, name in itertools.product(range(options.rounds), chosen):
            yield Row(scenario.sessions, scenario.per_write, name), number


if __name__ == "__main__":
    os.chdir(REPOSITORY)
    sys.exit(main(sys.argv[1:]))
