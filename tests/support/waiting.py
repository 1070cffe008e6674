"""The only way tests wait: until a condition holds, or a timeout ends and the test reports what was missing.

``TEST_TIMEOUT_SCALE=3`` makes all timeouts of the tests three times as long; the default is the load of the
machine. A timeout is not a measurement: only a failure takes so long.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar

from bridge.clock import monotonic

T = TypeVar("T")

_INTERVAL = 0.01  # seconds: short against every wait, and 100 calls a second cost little


def _load() -> float:
    """Return how much longer everything takes on this machine: 1 with up to two runnable processes for each core."""
    return min(4.0, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1) / 2))


_SECONDS = 30.0
SCALE = float(os.environ.get("TEST_TIMEOUT_SCALE") or _load())
TIMEOUT = _SECONDS * SCALE
"""Seconds for waits without ``wait_until``: joins, results, requests."""


def wait_until(
    predicate: Callable[[], T], deadline: float = _SECONDS, what: str = "", interval: float = _INTERVAL
) -> T:
    """Return the first truthy value of ``predicate``; AssertionError after ``deadline`` scaled seconds without one.

    A deadline below 30 s is not shorter in effect: an idle machine does not need it, and a busy one is late by chance.
    """
    never = threading.Event()
    began, seconds = monotonic(), max(deadline, _SECONDS)
    while True:
        value = predicate()
        if value:
            return value
        waited = monotonic() - began
        if waited >= seconds * SCALE and waited >= seconds * _load():  # the load may have risen since the start
            raise AssertionError(f"waited {waited:.0f} s for {what or predicate!r}, last value: {value!r}")
        never.wait(interval)


def let_pass(seconds: float) -> None:
    """Return after this time: for tests of what must not happen meanwhile, and for random moments."""
    threading.Event().wait(seconds)
