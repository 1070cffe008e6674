"""The requests of other threads and signal handlers to the main thread."""

from __future__ import annotations

from bridge.clock import monotonic
from bridge.daemon.signals import SignalQueue


def test_stops_are_counted_and_other_requests_only_wake() -> None:
    """A second stop asks for an immediate shutdown."""
    signals = SignalQueue()
    signals.wake()
    signals.stop()
    begun = monotonic()
    signals.wait(60.0)
    assert signals.stops == 1
    signals.stop()
    signals.wait(60.0)
    assert signals.stops == 2
    assert monotonic() - begun < 30
