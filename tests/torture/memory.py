"""Kafka is slow while many streams push: readers stop reading, memory stays constant, no event is dropped."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from bridge.clock import monotonic
from bridge.simulator.server.load_session import LoadScript
from tests.support.broker import Broker
from tests.support.network_proxy import CLEAR, NetworkConditions, Proxy
from tests.support.scene import status
from tests.support.usage import memory
from tests.support.waiting import wait_until
from tests.torture.run import Figures, Load, Place, Run

BUFFER = 16 * 2**20
SLOW = NetworkConditions(rate=30_000)
"""Bytes a second to Kafka, compressed: a hundredth of the load."""
SESSIONS = 100
EVENT_BYTES = 1000
SEED = 1
PER_WRITE = 20


class Sample(NamedTuple):
    """The state at one moment."""

    rss: int
    buffered: int
    read: int
    acknowledged: int
    held_back: int
    """Streams for which the server has events that the bridge does not read."""


def slow_for_long(folder: Path, namespace: str, seconds: float, events: int, size: int = EVENT_BYTES) -> Figures:
    """Publish ``events`` of each session, more than Kafka accepts in these ``seconds``.

    The remark has the memory when the buffer is full, in the middle and at the end.
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
        wait_until(lambda: _sample(run).buffered >= BUFFER, 120, "a full buffer", 0.2)
        samples = _watch(run, seconds)
        proxy.set(CLEAR)
        run.finish(300)
        figures = run.prove("Kafka slow while 100 streams push", 1, remark=_remark(samples, seconds), script=script)
    _judge(samples)
    return figures


def _remark(samples: list[Sample], seconds: float) -> str:
    first, middle, last = samples[0], samples[len(samples) // 2], samples[-1]
    return (
        f"{seconds:g} s, {len(samples)} samples: RSS {_mib(first.rss)} at the start, {_mib(middle.rss)} in the middle,"
        f" {_mib(last.rss)} at the end, for a buffer of {_mib(BUFFER)}; {last.held_back} of {SESSIONS} streams"
        f" held back at the server; read {(last.read - first.read) / seconds:.0f} events/s, Kafka acknowledged"
        f" {(last.acknowledged - first.acknowledged) / seconds:.0f}"
    )


def _judge(samples: list[Sample]) -> None:
    first, middle, last = samples[0], samples[len(samples) // 2], samples[-1]
    assert last.rss - middle.rss < BUFFER // 2, "memory grows"
    assert max(sample.rss for sample in samples) - first.rss < 2 * BUFFER
    assert last.held_back > SESSIONS * 0.75


def _watch(run: Run, seconds: float) -> list[Sample]:
    samples: list[Sample] = []
    end = monotonic() + seconds
    while monotonic() < end:
        samples.append(_sample(run))
        assert samples[-1].buffered < 2 * BUFFER
        run.pause(min(5.0, seconds / 20))
    print([(round(monotonic()), round(sample.rss / 2**20, 1)) for sample in samples])
    return samples


def _sample(run: Run) -> Sample:
    shown = status(run.bridge)
    read = sum(one["sequence"] for one in shown["sessions"])
    acknowledged = sum(one["acknowledged_sequence"] for one in shown["sessions"])
    held_back = _unsent(int(run.mix.url.rpartition(":")[2]))
    return Sample(memory(run.bridge.pid), shown["bridge"]["buffer_bytes"], read, acknowledged, held_back)


def _unsent(port: int) -> int:
    """Return the number of connections of a port with bytes in their send queue (``/proc/net/tcp``)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and int(row[4].partition(":")[0], 16) > 0 for row in rows)


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
