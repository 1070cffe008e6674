"""A bug of the bridge, injected into a real process: it is visible from outside, and no broken process stays alive."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import Bridge
from tests.support.scene import settings, texts, wait_acknowledged, wait_logged
from tests.support.scripted_mix import Feed, ScriptedMix, scripted_mix
from tests.support.waiting import TIMEOUT, wait_until

FAULTY_DELIVERY = """
import os, sys
from bridge.cli import main
from bridge.delivery.at_least_once import AtLeastOnce

turn = AtLeastOnce.turn

def faulty(self):
    turn(self)
    if os.path.exists("{flag}"):
        raise ZeroDivisionError("hunter2")

AtLeastOnce.turn = faulty
sys.exit(main())
"""

FAULTY_DISCOVERY = """
import os, sys
from bridge.cli import main
from bridge.daemon import discovery

discovered = discovery.discovered

def faulty(*arguments):
    if os.path.exists("{flag}"):
        raise ZeroDivisionError("hunter2")
    return discovered(*arguments)

discovery.discovered = faulty
sys.exit(main())
"""


@pytest.fixture
def mix() -> Iterator[ScriptedMix]:
    """A server with one session of three events."""
    with scripted_mix() as server:
        server.list("a")
        server.streams = {"a": Feed(3), "b": Feed(3)}
        yield server


def faulty_bridge(folder: Path, program: str, chosen: dict[str, object]) -> tuple[Bridge, Path]:
    """A bridge with a bug that takes effect once the file exists."""
    flag = folder / "flag"
    code = program.format(flag=flag)
    return Bridge(folder / "bridge", chosen, (sys.executable, "-c", code)), flag


def test_a_bug_in_the_delivery_thread_ends_the_process_with_70(
    kafka: str, namespace: str, tmp_path: Path, mix: ScriptedMix
) -> None:
    """At once, and the log ends with one line about the bug. A start without the bug resumes."""
    bridge, flag = faulty_bridge(tmp_path, FAULTY_DELIVERY, settings(kafka, namespace, mix.url))
    with bridge.start():
        wait_acknowledged(bridge, "a", 3)
        bridge.wait_ready()
        flag.touch()
        assert bridge.wait(TIMEOUT) == os.EX_SOFTWARE
        last = bridge.log_text().splitlines()[-1]
        assert "a bug: ZeroDivisionError in faulty" in last
        assert "hunter2" not in bridge.log_text()
        feed = mix.streams["a"]
        assert isinstance(feed, Feed)
        feed.add(2)
        flag.unlink()
        bridge.start()
        wait_acknowledged(bridge, "a", 5)
        assert bridge.terminate() == 0
    assert texts(kafka, namespace, "a") == ["1", "2", "3", "4", "5"]


def test_a_bug_in_the_delivery_thread_ends_a_graceful_shutdown(
    kafka: str, namespace: str, tmp_path: Path, mix: ScriptedMix
) -> None:
    """With 70, and before ``drain_timeout`` (25 s) has passed."""
    more = {"delivery.checkpoint_interval": "1h"}  # so that the shutdown has something left to do
    bridge, flag = faulty_bridge(tmp_path, FAULTY_DELIVERY, settings(kafka, namespace, mix.url, more))
    with bridge.start():
        wait_acknowledged(bridge, "a", 3)
        bridge.send(signal.SIGSTOP)
        flag.touch()
        bridge.send(signal.SIGTERM)
        bridge.send(signal.SIGCONT)
        assert bridge.wait(TIMEOUT) == os.EX_SOFTWARE


def test_a_bug_in_discovery_is_logged_once_and_polling_continues(
    kafka: str, namespace: str, tmp_path: Path, mix: ScriptedMix
) -> None:
    """Running sessions continue, and the next list without the bug is used."""
    bridge, flag = faulty_bridge(tmp_path, FAULTY_DISCOVERY, settings(kafka, namespace, mix.url))
    with bridge.start():
        wait_acknowledged(bridge, "a", 3)
        flag.touch()
        line = wait_logged(bridge, "a bug in discovery")
        assert (line["level"], line["server"]) == ("error", "local")
        lists = mix.lists
        wait_until(lambda: mix.lists > lists + 2, 10, "more polls")
        assert bridge.log_text().count("a bug in discovery") == 1
        mix.list("a", "b")
        flag.unlink()
        wait_acknowledged(bridge, "b", 3)
        assert wait_logged(bridge, "discovery works again")
        assert bridge.terminate() == 0
