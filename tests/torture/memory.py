"""Kafka slow for long while many streams push: readers stop reading, memory stays flat, nothing is dropped."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from bridge.clock import monotonic
from bridge.simulator.scripts.load_script import LoadScript
from tests.support.broker import Broker
from tests.support.network_proxy import CLEAR, NetworkConditions, Proxy
from tests.support.scene import status
from tests.support.waiting import wait_until
from tests.torture.run import Figures, Load, Place, Run

BUFFER = 16 * 2**20
SLOW = NetworkConditions(rate=30_000)
"""Bytes a second to Kafka, compressed: a hundredth of what is asked for."""
SESSIONS = 100
EVENT_BYTES = 1000
SEED = 1
PER_WRITE = 20


class Look(NamedTuple):
    """What was seen at one moment."""

    rss: int
    buffered: int
    read: int
    acknowledged: int
    held_back: int
    """Streams for which the server has something that the bridge does not take."""


def slow_for_long(folder: Path, namespace: str, seconds: float, events: int, size: int = EVENT_BYTES) -> Figures:
    """``events`` of each session, of so many bytes, more than Kafka takes in these ``seconds``.

    The memory at the start of the slowness, when the buffer is full, in the middle and at the end.
    """
    proxy = Proxy()
    broker = Broker(folder / "kafka", properties={"advertised.listeners": f"PLAINTEXT://{proxy.address}"})
    proxy.upstream = broker.address.client_port
    more = {"delivery.max_buffer_bytes": BUFFER, "delivery.max_in_flight": 1_000_000, "log.level": "warning"}
    script = LoadScript(SEED, size, events, PER_WRITE)
    pushing = ("--load", "--event-bytes", size, "--events", script.events, "--per-write", PER_WRITE)
    load = Load(sessions=SESSIONS, rate=0, more=pushing)
    with proxy, broker, Run(Place(folder, proxy.address, namespace), load, more, seed=SEED) as run:
        proxy.set(SLOW)
        run.bridge.start()
        wait_until(lambda: _look(run).buffered >= BUFFER, 120, "a full buffer", 0.2)
        looks = _watch(run, seconds)
        proxy.set(CLEAR)
        run.finish(300)
        figures = run.prove("Kafka slow while 100 streams push", 1, remark=_remark(looks, seconds), script=script)
    _judge(looks)
    return figures


def _remark(looks: list[Look], seconds: float) -> str:
    first, middle, last = looks[0], looks[len(looks) // 2], looks[-1]
    return (
        f"{seconds:g} s, {len(looks)} looks: RSS {_mib(first.rss)} at the start, {_mib(middle.rss)} in the middle,"
        f" {_mib(last.rss)} at the end, for a buffer of {_mib(BUFFER)}; {last.held_back} of {SESSIONS} streams"
        f" held back at the server; read {(last.read - first.read) / seconds:.0f} events/s, Kafka took"
        f" {(last.acknowledged - first.acknowledged) / seconds:.0f}"
    )


def _judge(looks: list[Look]) -> None:
    first, middle, last = looks[0], looks[len(looks) // 2], looks[-1]
    assert last.rss - middle.rss < BUFFER // 2, "memory grows and grows"
    assert max(look.rss for look in looks) - first.rss < 2 * BUFFER
    assert last.held_back > SESSIONS * 0.75


def _watch(run: Run, seconds: float) -> list[Look]:
    looks: list[Look] = []
    end = monotonic() + seconds
    while monotonic() < end:
        looks.append(_look(run))
        assert looks[-1].buffered < 2 * BUFFER
        run.pause(min(5.0, seconds / 20))
    print([(round(monotonic()), round(look.rss / 2**20, 1)) for look in looks])
    return looks


def _look(run: Run) -> Look:
    said = status(run.bridge)
    read = sum(one["sequence"] for one in said["sessions"])
    acknowledged = sum(one["acknowledged_sequence"] for one in said["sessions"])
    held_back = _unsent(int(run.mix.url.rpartition(":")[2]))
    return Look(rss(run.bridge.pid), said["bridge"]["buffer_bytes"], read, acknowledged, held_back)


def _unsent(port: int) -> int:
    """Connections of a port of this machine with something in their send queue (``/proc/net/tcp``)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and int(row[4].partition(":")[0], 16) > 0 for row in rows)


def rss(pid: int) -> int:
    """Bytes of memory a process has."""
    line = next(each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each[:6] == "VmRSS:")
    return int(line.split()[1]) * 1024


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
