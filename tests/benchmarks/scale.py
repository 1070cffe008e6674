"""The load that one process carries: ``make scale ARGS="--sessions 100,1000,5000"``, on a real Kafka.

A simulated server, a bridge with its defaults and a broker, each a process of its own. For each number of sessions, one
after the other: all attach; all are idle, except for heartbeats; all are busy; the server restarts; the bridge is
killed and restarts.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from bridge.clock import monotonic
from tests.benchmarks.footprint import (
    Footprint,
    connections,
    connections_of,
    footprint,
    most_within,
    processor_share,
)
from tests.benchmarks.measure import Measured, measure
from tests.support.broker import FULL_SPEED, Broker
from tests.support.mix import MixServer
from tests.support.process import Bridge
from tests.support.repository import REPOSITORY
from tests.support.topics import create_topic
from tests.support.waiting import let_pass, wait_until

_EVENT_BYTES = 150
_HEARTBEAT = 45
_DOWN = 3.0
"""Seconds that the server is away when it restarts."""
_TIMEOUT = 400.0


class Attached(NamedTuple):
    """How the sessions were attached, by the server's records. Times in seconds."""

    took: float
    """From the beginning (a start, a server that is back) to the last connect."""
    busiest_second: int
    busiest_tenth: int
    requests: int
    """More requests than sessions show failed attempts or reconnects."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One number of sessions."""

    sessions: int
    attach: Attached
    idle: Footprint
    to_kafka: int
    """Connections."""
    status_kib: float
    """Of the answer of ``/api/status``."""
    idle_share: float
    """Of one core, in percent, heartbeats included."""
    busy: Measured | None
    after: Footprint
    """Idle again, after each session had its events."""
    server_back: Attached
    bridge_back: Attached


def main(arguments: Sequence[str]) -> int:
    """Measure each number of sessions, and print the table."""
    options = _options(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="mix-bridge-scale-") as folder,
        Broker(Path(folder) / "kafka", jvm=FULL_SPEED, heap="1g") as broker,
    ):
        found = [_measured(Path(folder), broker, count, options) for count in (1, *options.sessions)]
    print(_table(found))
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("make scale", description=__doc__)
    parser.add_argument(
        "--sessions", type=_numbers, default=[100, 1000, 5000], help="how many, with commas; 1 is always the base"
    )
    parser.add_argument("--idle", type=float, default=60.0, help="seconds of idleness that are measured")
    parser.add_argument("--events", type=int, default=200_000, help="of the busy run, all sessions together")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the bridge")
    return parser.parse_args(arguments)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _measured(folder: Path, broker: Broker, sessions: int, options: argparse.Namespace) -> Figures:
    place = folder / str(sessions)
    each = max(1, options.events // sessions)
    namespace = f"scale-{sessions}"
    create_topic(broker.bootstrap, f"{namespace}.events", 8)
    with _server(place, sessions, each) as server:
        scene = _Scene(server, Bridge(place / "bridge", _settings(broker, server, namespace, options)), sessions)
        try:
            return _through_all(scene, broker, namespace, each, options.idle)
        finally:
            scene.bridge.kill()


def _settings(broker: Broker, server: MixServer, namespace: str, options: argparse.Namespace) -> dict[str, object]:
    chosen: dict[str, object] = {
        "namespace": namespace,
        "kafka.bootstrap_servers": broker.bootstrap,
        "servers.load.url": server.url,
        "instance": "scale",
    }
    return chosen | dict(one.split("=", 1) for one in options.set)


@contextmanager
def _server(place: Path, sessions: int, each: int) -> Iterator[MixServer]:
    load = ("--load", "--held", "--rate", 0, "--events", each, "--event-bytes", _EVENT_BYTES)
    with MixServer(place / "server", "--sessions", sessions, "--heartbeat", _HEARTBEAT, *load) as server:
        yield server


class _Scene(NamedTuple):
    server: MixServer
    bridge: Bridge
    sessions: int

    @property
    def port(self) -> int:
        return int(self.server.url.rpartition(":")[2])

    def all_attached(self) -> bool:
        return connections(self.port) >= self.sessions

    def seen(self) -> int:
        """The number of the newest stream."""
        return max((stream["number"] for stream in self.server.streams()), default=0)

    def attached(self, since: float, after: int) -> Attached:
        """Wait until all sessions have a reader."""
        wait_until(self.all_attached, _TIMEOUT, f"{self.sessions} connections, see {self.bridge.log}", 0.5)
        self.settled()
        opened = [stream["opened"] for stream in self.server.streams(after)]
        return Attached(max(opened) - since, most_within(opened, 1.0), most_within(opened, 0.1), len(opened))

    def settled(self) -> None:
        """Wait until everything that was read is in Kafka, and a checkpoint says so."""
        wait_until(self._is_settled, _TIMEOUT, f"{self.sessions} sessions at rest, see {self.bridge.log}", 1.0)

    def _is_settled(self) -> bool:
        format_cell: list[dict[str, Any]] = self.bridge.get("/api/status").json()["sessions"]
        resting = [one for one in format_cell if one["state"] == "streaming" and not one["in_flight"] and one["epoch"]]
        return len(resting) == self.sessions


def _through_all(scene: _Scene, broker: Broker, namespace: str, each: int, idle: float) -> Figures:
    _say(scene, "attach")
    attach = _started(scene)
    _pause(3.0)
    _say(scene, "idle")
    before = footprint(scene.bridge.pid)
    _pause(idle)
    resting = footprint(scene.bridge.pid)
    to_kafka = connections_of(scene.bridge.pid, broker.address.client_port)
    status_kib = len(scene.bridge.get("/api/status").text) / 1024
    _say(scene, "busy")
    busy = _busy(scene, broker, namespace, each)
    scene.settled()
    _pause(3.0)
    after = footprint(scene.bridge.pid)
    _say(scene, "the server restarts")
    number = scene.seen()
    scene.server.fault("restart", down=_DOWN)
    wait_until(lambda: connections(scene.port) == 0, 10, "no connection")
    server_back = scene.attached(monotonic() + _DOWN, number)
    _say(scene, "the bridge comes back")
    number = scene.seen()
    scene.bridge.kill()
    bridge_back = _started(scene, number)
    share = processor_share(before, resting)
    return Figures(scene.sessions, attach, resting, to_kafka, status_kib, share, busy, after, server_back, bridge_back)


def _started(scene: _Scene, after: int = 0) -> Attached:
    since = monotonic()
    scene.bridge.start(deadline=90)
    return scene.attached(since, after)


def _busy(scene: _Scene, broker: Broker, namespace: str, each: int) -> Measured:
    pids = {"bridge": [scene.bridge.pid], "broker": [broker.pid]}
    scene.server.post("/control/resume")
    return measure(broker.bootstrap, f"{namespace}.events", each * scene.sessions, pids, stall_timeout=_TIMEOUT)


def _say(scene: _Scene, what: str) -> None:
    print(f"{scene.sessions} sessions: {what}", file=sys.stderr, flush=True)


def _pause(seconds: float) -> None:
    let_pass(seconds)


def _table(found: Sequence[Figures]) -> str:
    """Each column beside the one before it: a process with few sessions varies by more than they take."""
    columns = list(pairwise([found[0], *found]))
    rows = [("", *(f"{one.sessions:,}" for one in found)), ("---",) * (len(found) + 1)]
    rows += [(name, *(format_cell(one, before) for before, one in columns)) for name, format_cell in _ROWS.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _each_more(kib: int, before: int, added: int) -> str:
    return f"{(kib - before) / added:.1f}" if added else ""


_ROWS: Mapping[str, Callable[[Figures, Figures], str]] = {
    "all attached after the start, s": lambda one, _: f"{one.attach.took:.1f}",
    "connects in the busiest second": lambda one, _: f"{one.attach.busiest_second}",
    "connects in the busiest 0.1 s": lambda one, _: f"{one.attach.busiest_tenth}",
    "RSS idle, MiB": lambda one, _: f"{one.idle.rss / 1024:.0f}",
    "RSS of each session more than at its left, KiB": lambda one, before: _each_more(
        one.idle.rss, before.idle.rss, one.sessions - before.sessions
    ),
    "PSS of each session more, KiB": lambda one, before: _each_more(
        one.idle.pss, before.idle.pss, one.sessions - before.sessions
    ),
    "RSS idle again after all were busy, MiB": lambda one, _: f"{one.after.rss / 1024:.0f}",
    "addresses, GiB": lambda one, _: f"{one.idle.virtual / 1024**2:.1f}",
    "threads": lambda one, _: f"{one.idle.threads:,}",
    "descriptors": lambda one, _: f"{one.idle.descriptors:,}",
    "connections to one broker": lambda one, _: f"{one.to_kafka}",
    "/api/status, KiB": lambda one, _: f"{one.status_kib:,.0f}",
    "memory mappings": lambda one, _: f"{one.idle.mappings:,}",
    "processor idle, % of one core": lambda one, _: f"{one.idle_share:.1f}",
    "events/s, all busy": lambda one, _: f"{one.busy.events_per_second:,.0f}" if one.busy else "",
    "processor an event, us": lambda one, _: f"{one.busy.cpu_us_per_event['bridge']:.1f}" if one.busy else "",
    "peak RSS, MiB": lambda one, _: f"{one.busy.peak_rss_mib:.0f}" if one.busy else "",
    "server back: all attached after, s": lambda one, _: f"{one.server_back.took:.1f}",
    "server back: connects in the busiest second": lambda one, _: f"{one.server_back.busiest_second}",
    "server back: connects in the busiest 0.1 s": lambda one, _: f"{one.server_back.busiest_tenth}",
    "server back: streams opened": lambda one, _: f"{one.server_back.requests}",
    "bridge killed and back: all attached after, s": lambda one, _: f"{one.bridge_back.took:.1f}",
    "bridge killed and back: connects in the busiest second": lambda one, _: f"{one.bridge_back.busiest_second}",
    "bridge killed and back: connects in the busiest 0.1 s": lambda one, _: f"{one.bridge_back.busiest_tenth}",
}


if __name__ == "__main__":
    os.chdir(REPOSITORY)
    sys.exit(main(sys.argv[1:]))
