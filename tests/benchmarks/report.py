"""The table of a comparison, as Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
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
    "ours / it",
)


class Row(NamedTuple):
    """Which bridge did what."""

    sessions: int
    per_write: int
    bridge: str

    def __str__(self) -> str:
        return f"{self.bridge}: {self.sessions} sessions, {self.per_write} events per write"


def table(measured: Mapping[Row, Sequence[Measured]]) -> str:
    """Medians of all rounds, one line for each bridge in each scenario."""
    lines = [_HEAD, ("---",) * len(_HEAD), *(_line(row, measured) for row in measured)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
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
        _ratio(row, measured),
    )


def _ratio(row: Row, measured: Mapping[Row, Sequence[Measured]]) -> str:
    ours = measured.get(row._replace(bridge="ours"))
    if row.bridge == "ours" or not ours:
        return ""
    speed = median(run.events_per_second for run in ours)
    return f"{speed / median(run.events_per_second for run in measured[row]):.2f}"
