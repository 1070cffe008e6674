"""The README's consumer, run unchanged: each event once, also when the bridge is killed and repeats some."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.process import MIX_BRIDGE, Bridge
from tests.support.processes import spawn
from tests.support.repository import REPOSITORY
from tests.support.scene import bridged, events, settings, wait_acknowledged, write
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
    """Before and after a kill -9 between the acknowledgement of records and their checkpoint, which causes repeats."""
    program = (MIX_BRIDGE[0], "-m", "tests.support.dying_bridge", "--point", "after_acknowledgement", "--")
    feed = Feed(20)
    with scripted_mix({"a": feed}) as mix:
        chosen = settings(kafka, namespace, mix.url)
        assert Bridge(tmp_path / "killed", chosen, program).start(wait=False).wait(30) < 0
        sent = len(events(kafka, namespace))
        assert sent
        with running(tmp_path, example(kafka, f"{namespace}.events")) as said:
            wait_until(lambda: len(printed(said)) >= sent, 30, f"{sent} events in {said}", 0.05)
            feed.add(20)
            with bridged(tmp_path, chosen) as bridge:
                wait_acknowledged(bridge, "a", 40)
            wait_until(lambda: len(printed(said)) >= 40, 30, f"40 events in {said}", 0.05)
            assert len(events(kafka, namespace)) > 40, "the killed bridge's successor repeated nothing"
            lines = printed(said)
    expected = [f'a content {{"type": "content", "content": "{number}"}}' for number in range(1, 41)]
    assert lines == expected


def test_the_readmes_consumer_handles_replayed_dead_letters(kafka: str, namespace: str, tmp_path: Path) -> None:
    """A record marked ``replayed`` is printed once, though its number is old, and does not hide the next event.

    Unmarked, number 4 of the old epoch is below the new epoch and dropped.
    """
    topic = f"{namespace}.events"
    create_topic(kafka, topic, 1)
    sent = [(2, False), (1, True), (1, True), (9, True), (2, False), (3, False), (101, False), (4, False), (4, True)]
    for number, is_replayed in sent:
        value = record(number, is_replayed=is_replayed)
        write(kafka, topic, b"local/a", value, headers={"content-type": "application/cloudevents+json"})
    with running(tmp_path, example(kafka, topic)) as said:
        wait_until(lambda: len(printed(said)) >= 6, 30, f"6 events in {said}", 0.05)
    assert printed(said) == [f"a content {number}" for number in (2, 1, 9, 3, 101, 4)]


def record(number: int, *, is_replayed: bool) -> bytes:
    """The structured record of the event with this number; 100 and above are of the next epoch."""
    epoch, within = divmod(number, 100)
    text = f"{1767225600 + epoch}:{within:012}"
    event = {"subject": "a", "type": "mix.content", "id": text, "sequence": text, "epoch": text[:10], "data": number}
    mark = {"replayed": True} if is_replayed else {}
    return json.dumps(mark | event).encode()


def printed(said: Path) -> list[str]:
    """The whole lines the example has printed."""
    return said.read_text().splitlines() if said.exists() else []
