"""Measure time and memory of ``mix-bridge verify`` on a real Kafka with a log as the bridge writes it.

``python -m tests.benchmarks.verify --records 10000000 --sessions 10000``
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path

from confluent_kafka import Producer

from bridge.clock import monotonic, unix_ms
from bridge.core.identity import SessionKey
from bridge.core.records.formats import WRITERS, Names
from bridge.core.records.record import epoch_text, sequence_text
from bridge.core.stream.event import Event
from tests.support.broker import FULL_SPEED, Broker
from tests.support.process import MIX_BRIDGE, environment
from tests.support.repository import REPOSITORY
from tests.support.topics import create_topic
from tests.support.waiting import TIMEOUT

_PARTITIONS = 8
_NAMESPACE = "bench"
_EPOCH = 1_700_000_000
_FIRST = sequence_text(epoch_text(_EPOCH), 1).encode()


def main() -> int:
    """Write the log, run the command on it, print time and memory; return the command's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--format", choices=sorted(WRITERS), default="structured")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="mix-bridge-bench-") as folder,
        Broker(Path(folder) / "kafka", jvm=FULL_SPEED, heap="1g") as broker,
    ):
        # The kernel's peak memory of a process includes the time before its exec: the parent must stay small.
        writing = get_context("spawn").Process(
            target=_write, args=(broker.bootstrap, options.records, options.sessions, options.format)
        )
        writing.start()
        writing.join()
        assert writing.exitcode == 0
        return _measured(broker.bootstrap, options.records)


def _write(bootstrap: str, records: int, sessions: int, form: str) -> None:
    for topic, config in (("events", {}), ("dead-letters", {}), ("checkpoints", {"cleanup.policy": "compact"})):
        create_topic(bootstrap, f"{_NAMESPACE}.{topic}", _PARTITIONS, config)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2",
            "compression.type": "lz4",
            "linger.ms": 50,
            "queue.buffering.max.messages": 200_000,
        }
    )
    templates = [_template(number, form) for number in range(sessions)]
    for sequence in range(1, records // sessions + 1):
        text = sequence_text(epoch_text(_EPOCH), sequence).encode()
        for key, value, headers in templates:
            named = [(name, content.replace(_FIRST, text)) for name, content in headers]
            _produce(producer, key, value.replace(_FIRST, text), named)
    assert producer.flush(TIMEOUT) == 0


def _template(number: int, form: str) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """Return the first record of a session; later ones differ only in the digits of the sequence."""
    key = SessionKey("local", f"session-{number:06}-of-a-length-as-uuids")
    data = json.dumps({"type": "content", "content": "the words of an event, as an agent says them"})
    event = Event("content", data, "1", "1", unix_ms())
    value, headers = WRITERS[form](Names(key, "content", "mix."), event, f"{_EPOCH:010}", 1, "", True)  # noqa: FBT003
    return key.record_key, value, [*headers]


def _produce(producer: Producer, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
    while True:
        try:
            producer.produce(f"{_NAMESPACE}.events", value, key, headers=[*headers])
        except BufferError:
            producer.poll(0.1)
        else:
            return


def _measured(bootstrap: str, records: int) -> int:
    chosen = {"namespace": _NAMESPACE, "kafka.bootstrap_servers": bootstrap}
    start = monotonic()
    child = subprocess.Popen([*MIX_BRIDGE, "verify"], env=environment(chosen), cwd=REPOSITORY, stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    took, processor = monotonic() - start, usage.ru_utime + usage.ru_stime
    print(
        f"{records:,} records in {took:.0f} s ({records / took:,.0f}/s), {processor:.0f} s of processor time,"
        f" at most {usage.ru_maxrss / 1024:.0f} MiB resident"
    )
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    os.chdir(REPOSITORY)
    sys.exit(main())
