"""How long an event takes from the server's write to a consumer's sight, with either guarantee."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

from confluent_kafka import Consumer, TopicPartition

from bridge.clock import monotonic
from tests.benchmarks.contenders import RunSettings, ours
from tests.benchmarks.report import markdown
from tests.benchmarks.runs import Bench
from tests.benchmarks.stamped import STAMP_DIGITS
from tests.support.process import environment
from tests.support.processes import spawn
from tests.support.repository import REPOSITORY
from tests.support.topics import create_topic, delete_topics
from tests.support.waiting import TIMEOUT, wait_until

SESSIONS = 10
RATE = 1000.0
"""Events a second of all sessions."""
_WARM_UP = 5.0
_PARTITIONS = 8
_CONTENT = b'"content":'
_PERCENTILES = {"p50": 50, "p99": 99}


class Latencies(NamedTuple):
    """What was seen of one guarantee, in milliseconds."""

    guarantee: str
    milliseconds: Sequence[float]

    def row(self, seconds: float) -> tuple[str, ...]:
        """A line of the table."""
        percents = quantiles(self.milliseconds, n=100, method="inclusive")
        found = (percents[at - 1] for at in _PERCENTILES.values())
        rate = len(self.milliseconds) / seconds
        return (self.guarantee, f"{rate:,.0f}", *(f"{each:.1f}" for each in found), f"{max(self.milliseconds):.0f}")


def latencies(bench: Bench, seconds: float) -> str:
    """The table of both guarantees, each watched for so long."""
    seen = []
    for guarantee in ("at_least_once", "exactly_once"):
        print(f"latency, {guarantee}", file=sys.stderr, flush=True)
        seen.append(_seen(bench, guarantee, seconds))
    head = ("guarantee", "events/s", *(f"{name} ms" for name in _PERCENTILES), "longest ms")
    return markdown([head, *(each.row(seconds) for each in seen)])


def _seen(bench: Bench, guarantee: str, seconds: float) -> Latencies:
    folder, broker = bench
    with _server(folder) as url:
        sessions = [f"stamped-{number}" for number in range(SESSIONS)]
        settings = RunSettings(folder, url, sessions, broker.bootstrap, f"latency-{uuid.uuid4().hex[:8]}")
        create_topic(broker.bootstrap, settings.topic, _PARTITIONS)
        (bridge,) = ours(settings, guarantee=guarantee)
        try:
            return Latencies(guarantee, list(_watched(settings, seconds)))
        finally:
            bridge.terminate()
            bridge.wait(TIMEOUT)
            delete_topics(broker.bootstrap, settings.topic)


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    output = folder / f"stamped-{uuid.uuid4().hex}"
    command = [sys.executable, "-m", "tests.benchmarks.stamped", str(RATE / SESSIONS)]
    server = spawn(command, log=folder / "stamped.log", stdout=output, env=environment({}), cwd=REPOSITORY)
    try:
        yield wait_until(output.read_text, 15, "the address of the server with stamps").strip()
    finally:
        server.kill()
        server.wait()


def _watched(settings: RunSettings, seconds: float) -> Iterator[float]:
    """The latencies of ``seconds``, after a while for the processes to get going; a consumer with its defaults."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.bootstrap,
            "group.id": settings.namespace,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "log_level": 2,
        }
    )
    try:
        consumer.assign([TopicPartition(settings.topic, partition, 0) for partition in range(_PARTITIONS)])
        begin = None
        while True:
            message = consumer.poll(30)
            assert message is not None, "no event came for 30 s"
            now = monotonic()
            value = message.value()
            assert message.error() is None, message.error()
            assert isinstance(value, bytes)
            begin = begin or now + _WARM_UP
            if now > begin + seconds:
                return
            if now > begin:
                yield (now - _stamp_of(value)) * 1000
    finally:
        consumer.close()


def _stamp_of(value: bytes) -> float:
    digits = value.partition(_CONTENT)[2].lstrip(b' "')[:STAMP_DIGITS]
    return int(digits) / 1e9
