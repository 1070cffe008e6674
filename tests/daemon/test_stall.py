"""Stalls of the whole process, by a clock that the test moves."""

from __future__ import annotations

from bridge.daemon.stall import STALL_LIMIT, StallDetector
from tests.fakes.clock import ManualClock


def test_a_late_heartbeat_reports_a_stall_to_those_who_have_not_seen_it() -> None:
    """Short pauses are none; the last stall counts until a moment after it."""
    clock = ManualClock(100.0)
    detector = StallDetector(clock)
    clock.advance(STALL_LIMIT)
    detector.heartbeat()
    assert detector.stalled_since(0.0) == 0.0
    clock.advance(60.0)
    detector.heartbeat()
    assert detector.stalled_since(100.0) == 60.0
    assert detector.stalled_since(clock()) == 0.0
