"""The counters of the last hour, from one sample per minute."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from bridge.core.snapshot import Counters

STEP = 60.0
"""Seconds between two samples."""
_SAMPLES = 60

NAMES = (
    "received", "published", "skipped", "reconnects", "gaps", "missing_events", "resets", "unresumable",
)  # fmt: skip
"""The counters that are kept."""


@dataclass(frozen=True, slots=True)
class Change:
    """By how much the counters rose in ``seconds``."""

    seconds: float
    counts: Mapping[str, int]
    """By the names in ``NAMES``."""
    dead_letters: Mapping[str, int]
    """By reason; only those that rose."""
    per_minute: tuple[int, ...]
    """Events received between two samples, the newest at the end."""


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    counters: Counters


class LastHour:
    """Samples of the counters of all sessions together.

    Thread rule: one thread. Times are seconds of one clock. Before the first sample all counters are 0.
    """

    def __init__(self, now: float) -> None:
        self._samples = deque([_Sample(now, Counters())], maxlen=_SAMPLES + 1)

    def is_due(self, now: float) -> bool:
        """Whether the last sample is a minute old."""
        return now - self._samples[-1].at >= STEP

    def add(self, now: float, counters: Counters) -> None:
        """Add a sample; the oldest one is dropped when there are more than an hour of them."""
        self._samples.append(_Sample(now, counters))

    def change(self, now: float, counters: Counters) -> Change:
        """The change since the oldest sample."""
        oldest = self._samples[0]
        counts = {name: getattr(counters, name) - getattr(oldest.counters, name) for name in NAMES}
        reasons = Counter(counters.dead_letters)
        reasons.subtract(oldest.counters.dead_letters)
        received = (*(each.counters.received for each in self._samples), counters.received)
        return Change(
            seconds=now - oldest.at,
            counts=counts,
            dead_letters=+reasons,
            per_minute=tuple(later - earlier for earlier, later in pairwise(received)),
        )
