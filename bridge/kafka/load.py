"""Whether records come so fast that it pays to wait and send many of them in one request."""

from __future__ import annotations

from collections.abc import Callable

from bridge.clock import monotonic

_WINDOW = 0.1
"""Seconds over which the load is measured."""
_HIGH = 2000
"""Records a second. Below, a request for each record costs at most a tenth of a core, here and in the broker each."""


class Load:
    """Measures whether so many records come that it pays to collect them.

    Thread rule: ``taken`` any thread (two at once may count one call: an estimate is enough), the rest the polling one.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self.taken = 0
        """Records that the client took so far."""
        self._now = now
        self._before, self._since = 0, now()
        self._is_high = False

    @property
    def is_high(self) -> bool:
        """Whether more than 2,000 records a second came, of late."""
        taken, now = self.taken, self._now()
        seconds = now - self._since
        if seconds >= _WINDOW:
            self._is_high = taken - self._before > _HIGH * seconds
            self._before, self._since = taken, now
        return self._is_high
