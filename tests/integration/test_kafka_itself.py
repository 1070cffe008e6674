"""The shared broker of the tests: its topics can be read, and it ends with its last user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from confluent_kafka import Producer

from tests.support.broker import answering
from tests.support.repository import REPOSITORY
from tests.support.topics import create_topic, end_offsets, partitions_of, read_topic
from tests.support.waiting import TIMEOUT, wait_until


def produce(bootstrap: str, topic: str, *values: bytes) -> None:
    """Produce and wait for every acknowledgement."""
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 2})
    errors: list[object] = []
    for value in values:
        producer.produce(topic, value, key=b"k", headers={"h": b"1"}, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(TIMEOUT) == 0
    assert errors == [None] * len(values)


def test_a_topic_is_read_to_its_end_in_order(kafka: str, namespace: str) -> None:
    """Keys, values, headers and offsets are as produced, in all partitions."""
    create_topic(kafka, namespace, partitions=3)
    produce(kafka, namespace, b"1", b"2", b"3")
    records = read_topic(kafka, namespace)
    assert [record.value for record in records] == [b"1", b"2", b"3"]
    assert [record.offset for record in records] == [0, 1, 2]
    assert {record.key for record in records} == {b"k"}
    assert records[0].header("h") == "1"
    assert sum(end_offsets(kafka, namespace).values()) == 3


def test_a_missing_topic_is_empty_and_stays_missing(kafka: str, namespace: str) -> None:
    """To read it does not create it."""
    assert read_topic(kafka, namespace) == []
    assert partitions_of(kafka, namespace) == []


def test_the_shared_broker_ends_with_its_last_user_even_if_that_one_is_killed(tmp_path: Path) -> None:
    """Two users share one broker; after both are killed no process is left."""
    code = (
        "import sys, pathlib; from tests.support.shared import shared_broker\n"
        "with shared_broker(pathlib.Path(sys.argv[1])) as address: print(address, flush=True); sys.stdin.read()"
    )
    users = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY
        )
        for _ in range(2)
    ]
    addresses = {user.stdout.readline() for user in users if user.stdout}
    assert len(addresses) == 1
    assert addresses != {b""}
    users[0].kill()
    users[0].communicate()
    answering(addresses.pop().decode().strip())
    assert _processes_naming(tmp_path)
    users[1].kill()
    users[1].communicate()
    wait_until(lambda: not _processes_naming(tmp_path), 20, "the end of the broker and its keeper")


def _processes_naming(folder: Path) -> list[int]:
    """Return the processes with this folder in their command line."""
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208  # /proc entries vanish meanwhile
        try:
            command = Path("/proc", entry, "cmdline").read_bytes() if entry.isdigit() else b""
        except OSError:
            continue
        if str(folder).encode() in command:
            found.append(int(entry))
    return found
