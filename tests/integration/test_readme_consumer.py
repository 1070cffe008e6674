"""The README's consumer, run as it stands there: each event once, also when the bridge is killed and repeats some."""

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
from tests.support.scene import events, settings, started, wait_acknowledged, wait_checkpoint
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.waiting import wait_until


def example(kafka: str, topic: str) -> str:
    """The README's Python, with the broker and the topic of a test."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (REPOSITORY / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    (code,) = [block for block in blocks if "Consumer" in block]
    for shown, real in (("localhost:9092", kafka), ("mix.events", topic)):
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
