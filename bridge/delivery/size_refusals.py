"""Before Kafka's refusal of a size is believed, the topics' limits are read again: they may have been lowered."""

from __future__ import annotations

from math import inf

from bridge.clock import monotonic
from bridge.core.records.sizes import SizeLimits

_LONGEST = 2.0
"""Seconds to wait for the limits: a description takes some milliseconds where Kafka answers."""


class SizeRefusals:
    """One session's refusals for size. Thread rule: the delivery thread."""

    def __init__(self, limits: SizeLimits) -> None:
        self._limits = limits
        self._version = limits.version
        """Of the limits by which everything in memory is known to be encoded."""
        self._checks: int | None = None
        self._until = -inf

    def note(self) -> None:
        """Kafka refused a record for its size: have the limits read again."""
        if monotonic() >= self._until:
            self._checks, self._until = self._limits.checks, monotonic() + _LONGEST
            self._limits.wanted.set()

    @property
    def awaits_limits(self) -> bool:
        """Whether the limits are being read since the refusal. Without an answer the wait ends."""
        return self._checks is not None and self._checks == self._limits.checks and monotonic() < self._until

    def are_explained(self) -> bool:
        """Whether the limits are others now: what is in memory must be encoded again, and no record is at fault.

        Asked once per refusal. A second one under the same limits is about a record.
        """
        if self._checks is None:
            return False
        was, self._version = self._version, self._limits.version
        self._checks, self._until = None, -inf
        return was != self._version
