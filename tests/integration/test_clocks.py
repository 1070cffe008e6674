"""A clock that is ahead of the brokers': Kafka refuses its records, and the bridge delivers them all the same."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bridge.clock import unix_ms
from tests.support.process import Bridge
from tests.support.scene import checkpoints, events, settings, texts, wait_acknowledged, wait_logged
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.topics import create_topic

AHEAD_S = 3 * 3600
PROGRAM = (
    sys.executable,
    "-c",
    f"""
import sys, time
true = time.time_ns
time.time_ns = lambda: true() + {AHEAD_S} * 10**9
from bridge.cli import main
sys.exit(main())
""",
)
"""A bridge whose clock is wrong."""


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_records_of_a_clock_that_is_ahead_are_delivered(
    kafka: str, namespace: str, tmp_path: Path, guarantee: str
) -> None:
    """With the brokers' time, which the claims' topic shows; both clocks are compared."""
    with scripted_mix({"a": Feed(20)}) as mix:
        chosen = settings(kafka, namespace, mix.url, {"delivery.guarantee": guarantee})
        with Bridge(tmp_path / "bridge", chosen, PROGRAM).start() as bridge:
            wait_acknowledged(bridge, "a", 20)
            wait_logged(bridge, "the clocks of this machine and of the brokers differ", "3 h 0 min ahead of")
            assert wait_logged(bridge, "Kafka refuses the time of this machine")["level"] == "error"
            assert bridge.terminate() == 0
    assert texts(kafka, namespace, "a") == [str(number) for number in range(1, 21)]
    now = unix_ms()
    assert all(abs(record.timestamp - now) < 600_000 for record in events(kafka, namespace))


def test_a_topic_with_the_writers_times_takes_positions_too(kafka: str, namespace: str, tmp_path: Path) -> None:
    """An existing checkpoints topic may show no broker's time: then records have no timestamp."""
    create_topic(kafka, f"{namespace}.checkpoints", 2, {"cleanup.policy": "compact"})
    with (
        scripted_mix({"a": Feed(20)}) as mix,
        Bridge(tmp_path / "bridge", settings(kafka, namespace, mix.url), PROGRAM).start() as bridge,
    ):
        wait_acknowledged(bridge, "a", 20)
        assert bridge.terminate() == 0
    assert texts(kafka, namespace, "a") == [str(number) for number in range(1, 21)]
    assert {record.timestamp for record in events(kafka, namespace)} == {-1}
    assert checkpoints(kafka, namespace)["local/a"][-1]["last_event_id"] == "20"
