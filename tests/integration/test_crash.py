"""kill -9 under load: nothing missing, nothing altered.

``make torture`` does the same many times, and at random moments.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.dying_bridge import POINTS, arm
from tests.support.repository import REPOSITORY
from tests.torture.kills import (
    IN_A_NEW_EPOCH,
    IN_THE_FLOW,
    killed_at_points,
    killed_in_new_epochs,
)
from tests.torture.run import LIGHT, Place


def test_a_consumer_has_each_event_once_after_kills_at_named_points(kafka: str, namespace: str, tmp_path: Path) -> None:
    """After read, produce, acknowledgement; around a checkpoint; in the restore."""
    place = Place(tmp_path, kafka, namespace)
    figures = killed_at_points(place, IN_THE_FLOW, 1, "kills at named points", load=LIGHT)
    assert figures.repeats > 0, "no kill came between a record and its checkpoint"
    assert figures.twice == 0


def test_a_consumer_misses_nothing_after_kills_in_new_epochs(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Between a mark and its acknowledgement, and between that and the epoch's first record."""
    place = Place(tmp_path, kafka, namespace)
    killed_in_new_epochs(place, IN_A_NEW_EPOCH, 1, "kills in new epochs", load=LIGHT)


def test_every_named_point_is_there() -> None:
    """In a process of its own: what is wrapped stays wrapped."""
    arming = "from tests.support.dying_bridge import *\nfor name in POINTS: arm(name, 1, lambda: None)"
    subprocess.run([sys.executable, "-c", arming], cwd=REPOSITORY, check=True)


def test_a_point_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A function that was renamed must not make the kills vanish in silence."""
    monkeypatch.setattr("bridge.sse.event_stream.EventStream.read", None)
    with pytest.raises(SystemExit):
        arm("after_read", 1, lambda: None)
    assert POINTS["after_read"].path in capsys.readouterr().err
