"""SIGTERM at many points under load: nothing is missing, nothing is altered and nothing is repeated.

``make torture`` injects every other fault of brokers, networks, signals and clocks: see docs/development/testing.md.
"""

from __future__ import annotations

from pathlib import Path

from tests.torture.run import LIGHT, Place
from tests.torture.signals import stopped_at_points


def test_a_graceful_shutdown_at_any_point_loses_and_repeats_nothing(kafka: str, namespace: str, tmp_path: Path) -> None:
    """SIGTERM while events flow, in a restore, in a checkpoint, in a new epoch: exit 0, no record twice."""
    stopped_at_points(Place(tmp_path, kafka, namespace), 1, load=LIGHT)
