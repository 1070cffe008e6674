"""`bridge.consumer` on a real Kafka: kills of the bridge and of the consumer, and rebalances."""

from __future__ import annotations

import random
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from bridge.consumer import CONFIG, Events, FileStore
from tests.consumer.records import record, send
from tests.docs.examples import blocks_of
from tests.support.effort import new_seed
from tests.support.forked import Process
from tests.support.process import MIX_BRIDGE, Bridge
from tests.support.processes import spawn
from tests.support.scene import accepted, bridged, events, settings, wait_acknowledged
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.topics import create_topic, end_offsets
from tests.support.waiting import TIMEOUT, let_pass, wait_until

pytestmark = pytest.mark.usefixtures("kafka")
COUNT = 60


def program(kafka: str, topic: str, file: Path) -> str:
    """The example with a store of docs/consuming.md, for a test: static membership makes a restart quick."""
    (code,) = [text for text in blocks_of("docs/consuming.md") if "FileStore" in text]
    for shown, real in (
        ('"localhost:9092"', f'"{kafka}", "group.instance.id": "one", "fetch.wait.max.ms": 10'),
        ('"mix.events"', f'"{topic}"'),
        ('"my-app"', f'"{topic}"'),
        ('"results.sqlite"', f'"{file}"'),
    ):
        assert code.count(shown) == 1, (shown, code)
        code = code.replace(shown, real)
    return code.replace("store=store", "store=store, commit_interval=0.02")


@contextmanager
def killed_afterwards(process: Process) -> Iterator[None]:
    """A process that gets kill -9 at the end of the block."""
    try:
        yield
        assert process.poll() is None, "the consumer ended"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def results(file: Path) -> list[str]:
    """The consumer's own committed results."""
    if not file.exists():
        return []
    with closing(sqlite3.connect(file, timeout=TIMEOUT)) as connection:
        try:
            return [text for (text,) in connection.execute("SELECT data FROM result ORDER BY rowid")]
        except sqlite3.OperationalError:  # no table yet
            return []


def is_all_committed(kafka: str, topic: str) -> bool:
    """Whether the consumer group has read the topic to its end."""
    ends = {partition: end for partition, end in end_offsets(kafka, topic).items() if end}
    with closing(Consumer({"bootstrap.servers": kafka, "group.id": topic})) as consumer:
        found = consumer.committed([TopicPartition(topic, partition) for partition in ends], timeout=TIMEOUT)
    return {each.partition: each.offset for each in found} == ends


def test_each_event_has_its_effect_once_although_bridge_and_consumer_are_killed(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """The bridge dies between the acknowledgement of records and their checkpoint, the consumer at random moments."""
    dying = (MIX_BRIDGE[0], "-m", "tests.support.dying_bridge", "--point", "after_acknowledgement", "--")
    file, topic, chance = tmp_path / "results.sqlite", f"{namespace}.events", random.Random(new_seed())
    code = program(kafka, topic, file)

    @contextmanager
    def consumed(count: int, number: int) -> Iterator[None]:
        """Run the consumer until it has so many results and until the end of the block."""
        log = tmp_path / f"consumer-{number}.log"
        with killed_afterwards(spawn([sys.executable, "-c", code], log=log, stdout=log.with_suffix(".out"))):
            wait_until(lambda: len(results(file)) >= count, 40, f"{count} results, see {log}", 0.001)
            yield

    feed = Feed(20)
    with scripted_mix({"a": feed}) as mix:
        chosen = settings(kafka, namespace, mix.url)
        for number in (0, 1):
            assert Bridge(tmp_path / f"killed-{number}", chosen, dying).start(wait=False).wait(30) < 0
            feed.add(20)
            with consumed(chance.randint(1, len(accepted(kafka, namespace, "a"))), number):
                let_pass(chance.uniform(0, 0.03))
        with bridged(tmp_path, chosen) as bridge:
            wait_acknowledged(bridge, "a", COUNT)
        with consumed(COUNT // 2, 2):
            let_pass(chance.uniform(0, 0.03))
        with consumed(COUNT, 3):
            wait_until(lambda: is_all_committed(kafka, topic), 20, "the offsets of the whole topic", 0.05)
    assert len(events(kafka, namespace)) > COUNT, "the killed bridge's successors repeated nothing"
    assert results(file) == [f'{{"type": "content", "content": "{number}"}}' for number in range(1, COUNT + 1)]


def test_a_rebalance_neither_loses_nor_repeats_an_event(kafka: str, namespace: str, tmp_path: Path) -> None:
    """A second member joins while events come, then the first one leaves; with a long commit interval.

    Each member commits when its partitions are revoked. Both share a store, and the records are repeated by a crash.
    """
    create_topic(kafka, namespace, 4)
    found: list[tuple[int, int]] = []
    stop = [threading.Event(), threading.Event()]

    def member(number: int) -> None:
        consumer = Consumer({"bootstrap.servers": kafka, "group.id": namespace, "heartbeat.interval.ms": 100, **CONFIG})
        store = FileStore(tmp_path / "shared.sqlite")
        events = Events(consumer, [namespace], store=store, commit_interval=1000.0, idle_timeout=0.05)
        while not stop[number].is_set():
            found.extend((event.partition, event.number) for event in events)
        consumer.close()
        store.close()

    threads = [threading.Thread(target=member, args=(number,)) for number in (0, 1)]
    threads[0].start()
    expected: set[tuple[int, int]] = set()

    def produce(start: int) -> None:
        for partition in range(4):
            again = [record(number) for number in range(max(1, start - 5), start + 10)]
            send(kafka, namespace, *again, partition=partition)
            expected.update((partition, number) for number in range(start, start + 10))

    produce(1)
    wait_until(lambda: len(found) >= 40, what="the first member's events")
    threads[1].start()
    produce(11)
    wait_until(lambda: len(found) >= 80)
    stop[0].set()
    threads[0].join(TIMEOUT)
    produce(21)
    wait_until(lambda: len(found) >= 120)
    stop[1].set()
    threads[1].join(TIMEOUT)
    assert sorted(found) == sorted(expected)
