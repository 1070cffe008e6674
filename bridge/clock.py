"""Time: a clock for durations, a clock for the dates on records, deadlines and back-off.

Durations use ``CLOCK_BOOTTIME``: it never jumps when somebody sets the wall clock, and unlike ``time.monotonic`` it
counts the time a suspended machine slept. Other systems than Linux lack it: there it is the monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Final

_MOST_DOUBLINGS: Final = 30
"""Far beyond any maximum of a back-off, and far below what overflows a float."""


_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def monotonic() -> float:
    """Seconds since a fixed moment; only differences have a meaning."""
    return time.clock_gettime(_CLOCK)


def unix_ms() -> int:
    """Milliseconds since 1970-01-01 UTC by the wall clock: for people and records, never for durations."""
    return time.time_ns() // 1_000_000


@lru_cache(maxsize=64)  # the events of one read share one time: formatting it once halves the cost of an envelope
def rfc3339(unix_milliseconds: int) -> str:
    """``2026-01-31T23:59:59.123Z`` (RFC 3339, UTC, milliseconds) of a Unix time in milliseconds."""
    moment = datetime.fromtimestamp(unix_milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{unix_milliseconds % 1000:03d}Z"


def parse_rfc3339(text: str, *, default_zone: tzinfo | None = None) -> int:
    """Unix milliseconds of an RFC 3339 time. Raises ValueError for any other text.

    A time without a zone is read in ``default_zone``. If that is None, it is an error as well.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError("a time that is not RFC 3339") from error
    zone = moment.tzinfo or default_zone
    if zone is None:
        raise ValueError("a time without a zone")
    return round(moment.replace(tzinfo=zone).timestamp() * 1000)


_NORMAL_DIFFERENCE: Final = 300.0
"""Seconds between two clocks: a request takes time, and not every machine has NTP."""


def clock_difference(ahead: float, other: str) -> str | None:
    """One line about this machine's clock if it is more than five minutes ahead of another (negative: behind)."""
    if abs(ahead) <= _NORMAL_DIFFERENCE:
        return None
    hours, seconds = divmod(round(abs(ahead)), 3600)
    amount = f"{hours} h {seconds // 60} min" if hours else f"{seconds // 60} min"
    return f"the clock of this machine is {amount} {'ahead of' if ahead > 0 else 'behind'} the clock of {other}"


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment by which a wait must end."""

    at: float
    """A moment of ``clock``."""
    clock: Callable[[], float] = monotonic

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = monotonic) -> Deadline:
        """The deadline so many seconds from now."""
        return cls(clock() + seconds, clock)

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, zero when it has passed."""
        return max(0.0, self.at - self.clock())

    @property
    def has_passed(self) -> bool:
        """Whether the deadline has passed."""
        return self.clock() >= self.at


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off between two bounds, in seconds. A value: it computes delays and never sleeps."""

    minimum: float
    maximum: float

    def delay(self, failures: int) -> float:
        """The delay after this many earlier failures in a row: the minimum for 0, then doubled up to the maximum."""
        return min(self.minimum * 2.0 ** min(failures, _MOST_DOUBLINGS), self.maximum)
