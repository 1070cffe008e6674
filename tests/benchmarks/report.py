"""The table of a comparison, as Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from statistics import median
from typing import NamedTuple

from tests.benchmarks.measure import Measured

_HEAD = (
    "sessions",
    "events per write",
    "bridge",
    "events/s",
    "from - to",
    "CPU us/event",
    "server us",
    "broker us",
    "RSS MiB",
)


class Row(NamedTuple):
    """Which bridge did what."""

    sessions: int
    per_write: int
    bridge: str

    def __str__(self) -> str:
        return f"{self.bridge}: {self.sessions} sessions, {self.per_write} events per write"


class Ratio(NamedTuple):
    """The last column: its head, and how a rate compares with that of the bridge all are compared with."""

    head: str
    of: str
    compare: Callable[[float, float], float]


OURS_TO_IT = Ratio("ours / it", "ours", lambda ours, it: ours / it)


def it_to(name: str) -> Ratio:
    """Each divided by one of them."""
    return Ratio(f"it / {name}", name, lambda one, it: it / one)


def table(measured: Mapping[Row, Sequence[Measured]], ratio: Ratio = OURS_TO_IT) -> str:
    """Medians of all rounds, one line for each bridge in each scenario."""
    return markdown(
        [(*_HEAD, ratio.head), *((*_line(row, measured), _ratio(row, measured, ratio)) for row in measured)]
    )


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is its head."""
    lines = [rows[0], ("---",) * len(rows[0]), *rows[1:]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(rows[0]))]
    return "\n".join(
        "| " + " | ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def footnotes(events: int, rounds: int, event_bytes: int) -> str:
    """Under what conditions the table was made."""
    return (
        f"\nMedian of {rounds} round(s), {events:,} events of {event_bytes} bytes of data each run, from the first to "
        "the last record seen in Kafka.\n"
        f"{os.cpu_count()} cores, shared by the bridge, the load server and the broker (their processor time per event "
        "is listed too).\n"
        f"CPython {platform.python_version()}, confluent-kafka {version('confluent-kafka')}, one Apache Kafka broker "
        "without replication, 8 partitions.\n"
        "RSS is the highest of the run."
    )


def _line(row: Row, measured: Mapping[Row, Sequence[Measured]]) -> tuple[str, ...]:
    runs = measured[row]
    speeds = [run.events_per_second for run in runs]
    cpu = {name: median(run.cpu_us_per_event[name] for run in runs) for name in ("bridge", "server", "broker")}
    return (
        str(row.sessions),
        str(row.per_write),
        row.bridge,
        f"{median(speeds):,.0f}",
        f"{min(speeds):,.0f} - {max(speeds):,.0f}",
        f"{cpu['bridge']:.1f}",
        f"{cpu['server']:.1f}",
        f"{cpu['broker']:.1f}",
        f"{median(run.peak_rss_mib for run in runs):.0f}",
    )


def _ratio(row: Row, measured: Mapping[Row, Sequence[Measured]], ratio: Ratio) -> str:
    others = measured.get(row._replace(bridge=ratio.of))
    if row.bridge == ratio.of or not others:
        return ""
    other, it = (median(run.events_per_second for run in runs) for runs in (others, measured[row]))
    return f"{ratio.compare(other, it):.2f}"
