"""The one way tests wait: until something is true, or a deadline is over and the test says what was missing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from bridge.clock import monotonic

T = TypeVar("T")

_INTERVAL = 0.01  # seconds: short against everything that is waited for, 100 looks a second cost nothing


def wait_until(predicate: Callable[[], T], deadline: float = 10.0, what: str = "", interval: float = _INTERVAL) -> T:
    """Return the first truthy value of ``predicate``; AssertionError when ``deadline`` seconds pass without one."""
    never = threading.Event()
    end = monotonic() + deadline
    while True:
        value = predicate()
        if value:
            return value
        if monotonic() >= end:
            raise AssertionError(f"waited {deadline:g} s for {what or predicate!r}, last seen: {value!r}")
        never.wait(interval)
