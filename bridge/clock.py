"""The two clocks: one for durations, one for the date on a record.

Durations use ``CLOCK_BOOTTIME``: it never jumps when somebody sets the wall clock, and unlike ``time.monotonic`` it
counts the time a suspended machine slept.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache


def monotonic() -> float:
    """Seconds since some fixed moment; only differences mean anything."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def unix_ms() -> int:
    """Milliseconds since 1970-01-01 UTC by the wall clock: for what people and records see, never for durations."""
    return time.time_ns() // 1_000_000


@lru_cache(maxsize=64)  # the events of one read share one time: formatting it once halves the cost of an envelope
def rfc3339(unix_milliseconds: int) -> str:
    """``2026-01-31T23:59:59.123Z`` (RFC 3339, UTC, milliseconds) of a Unix time in milliseconds."""
    moment = datetime.fromtimestamp(unix_milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{unix_milliseconds % 1000:03d}Z"
