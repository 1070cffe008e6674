"""Faults of brokers, networks, signals and clocks under load: nothing is missing and nothing is altered.

Each fault is injected a few times here, under a light load; ``make torture`` injects it often and under full load, for
the figures of docs/reliability.md.
"""

from __future__ import annotations

from pathlib import Path

from tests.torture.brokers import in_trouble, killed, one_of_three_killed, paused, restarted
from tests.torture.memory import slow_for_long
from tests.torture.network import spells, to_kafka, to_the_server
from tests.torture.run import LIGHT, Load, Place
from tests.torture.signals import (
    clock_set_back,
    frozen,
    stopped_at_points,
    stopped_without_a_server,
    stopped_without_kafka,
)


def test_a_broker_restarted_killed_and_paused(namespace: str, tmp_path: Path) -> None:
    """Records whose outcome is unknown are sent again, and none is stored twice."""
    figures = in_trouble(tmp_path, namespace, [restarted, killed, paused(1.5, 2)], 1, "a broker", load=LIGHT)
    assert figures.repeats == 0


def test_one_of_three_brokers_killed(namespace: str, tmp_path: Path) -> None:
    """Replication 3, min.insync 2: the others continue."""
    one_of_three_killed(tmp_path, namespace, 1, load=LIGHT)


def test_a_faulty_network_to_kafka(namespace: str, tmp_path: Path) -> None:
    """Cut, late, silent, half open."""
    figures = to_kafka(tmp_path, namespace, spells(0.5, 1.5), 1, "the network to Kafka", load=LIGHT)
    assert figures.twice == 0


def test_a_faulty_network_to_the_server(kafka: str, namespace: str, tmp_path: Path) -> None:
    """The same faults on the side of the server."""
    to_the_server(Place(tmp_path, kafka, namespace), spells(0.5, 1), 1, "the network to the server", load=LIGHT)


def test_memory_stays_flat_while_kafka_is_slow(namespace: str, tmp_path: Path) -> None:
    """A hundred streams deliver more than Kafka accepts: their server waits, and nothing is dropped."""
    slow_for_long(tmp_path, namespace, 5, 100, 10_000)


def test_a_graceful_shutdown_at_any_point_loses_and_repeats_nothing(kafka: str, namespace: str, tmp_path: Path) -> None:
    """SIGTERM while events flow, in a restore, in a checkpoint, in a new epoch: exit 0, no record twice."""
    figures = stopped_at_points(Place(tmp_path, kafka, namespace), 1, load=LIGHT)
    assert (figures.repeats, figures.twice) == (0, 0)


def test_a_shutdown_while_no_server_answers_is_prompt(kafka: str, namespace: str, tmp_path: Path) -> None:
    """SIGTERM while it connects, and in the back-off."""
    stopped_without_a_server(Place(tmp_path, kafka, namespace), 1, load=LIGHT)


def test_a_shutdown_while_kafka_is_down_loses_nothing(namespace: str, tmp_path: Path) -> None:
    """75 after ``drain_timeout``, and at once after a second signal; events in memory are read again."""
    stopped_without_kafka(tmp_path, namespace, 1, load=Load(sessions=5))


def test_a_process_that_was_paused_continues(kafka: str, namespace: str, tmp_path: Path) -> None:
    """SIGSTOP, SIGCONT."""
    frozen(Place(tmp_path, kafka, namespace), 1, 1, 6, load=LIGHT)


def test_durations_do_not_depend_on_the_wall_clock(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Set back by an hour and by a year: checkpoints, reconnects and readiness stay on time, epochs rise."""
    clock_set_back(Place(tmp_path, kafka, namespace), 2, load=LIGHT)
