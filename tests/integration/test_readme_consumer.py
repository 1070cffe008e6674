"""The README's consumer, run unchanged: each event once, also when the bridge is killed and repeats some."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.process import REPOSITORY
from tests.support.processes import spawn
from tests.support.scene import events, settings, started, wait_acknowledged, wait_checkpoint, write
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.topics import create_topic
from tests.support.waiting import wait_until


def example(kafka: str, topic: str) -> str:
    """The README's Python, with the broker, the topic and the group of a test."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (REPOSITORY / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    (code,) = [block for block in blocks if "Consumer" in block]
    for shown, real in (("localhost:9092", kafka), ("mix.events", topic), ("my-app", topic)):
        assert code.count(f'"{shown}"') == 1
        code = code.replace(f'"{shown}"', f'"{real}"')
    return str(code)


@contextmanager
def running(folder: Path, code: str) -> Iterator[Path]:
    """The example as a process; what it prints."""
    said = folder / "consumer.out"
    log = folder / "consumer.log"
    process = spawn([sys.executable, "-c", code], log=log, stdout=said)
    try:
        yield said
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_the_readmes_consumer_has_each_event_once(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Before and after a kill -9 behind the last checkpoint, so that events really come again."""
    with scripted_mix() as mix:
        feed = Feed(20)
        mix.list("a")
        mix.streams = {"a": feed}
        chosen = settings(kafka, namespace, mix.url, {"delivery.checkpoint_interval": "1h"})
        with started(tmp_path, chosen) as bridge:
            wait_acknowledged(bridge, "a", 20)
            with running(tmp_path, example(kafka, f"{namespace}.events")) as said:
                wait_until(lambda: len(printed(said)) >= 20, 30, f"20 events in {said}", 0.05)
                bridge.kill()
                feed.add(20)
                bridge.start()
                wait_acknowledged(bridge, "a", 40)
                assert bridge.terminate() == 0
                wait_checkpoint(kafka, namespace, "a", lambda one: one["sequence"] == 40)
                wait_until(lambda: len(printed(said)) >= 40, 30, f"40 events in {said}", 0.05)
                assert len(events(kafka, namespace)) == 60, "the kill was to make the bridge repeat what it had sent"
                lines = printed(said)
    expected = [f"a mix.content {{'type': 'content', 'content': '{number}'}}" for number in range(1, 41)]
    assert lines == expected


def test_the_readmes_consumer_handles_replayed_dead_letters(kafka: str, namespace: str, tmp_path: Path) -> None:
    """A record marked ``replayed`` is printed once, though its number is old, and does not hide the next event."""
    topic = f"{namespace}.events"
    create_topic(kafka, topic, 1)
    sent = [(2, False), (1, True), (1, True), (9, True), (2, False), (3, False)]
    for number, is_replayed in sent:
        write(kafka, topic, b"local/a", record(number, is_replayed=is_replayed))
    with running(tmp_path, example(kafka, topic)) as said:
        wait_until(lambda: len(printed(said)) >= 4, 30, f"4 events in {said}", 0.05)
    assert printed(said) == [f"a mix.content {number}" for number in (2, 1, 9, 3)]


def record(number: int, *, is_replayed: bool) -> bytes:
    """The structured record of the event with this number."""
    event = {"subject": "a", "type": "mix.content", "epoch": "1767225600", "sequence": f"{number:012}", "data": number}
    mark = {"replayed": True} if is_replayed else {}
    return json.dumps(mark | event | {"id": f"{event['epoch']}:{event['sequence']}"}).encode()


def printed(said: Path) -> list[str]:
    """The whole lines the example has printed."""
    return said.read_text().splitlines() if said.exists() else []


def test_the_readmes_record_is_one_that_the_consumer_understands() -> None:
    """The example of a record is JSON with all that the rule and the consumer look at."""
    text = (REPOSITORY / "README.md").read_text()
    (record,) = (json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    assert record["id"] == f"{record['epoch']}:{record['sequence']}"
    assert (len(record["epoch"]), len(record["sequence"])) == (10, 12)
    assert {"subject", "type", "data", "source", "time", "sseid"} <= set(record)
