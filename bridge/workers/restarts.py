"""When a worker that ended is started again, and when the parent ends instead. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from bridge.clock import Backoff
from bridge.errors import EXIT_FATAL, EXIT_SETTINGS, EXIT_UNREACHABLE, EXIT_USAGE

BACKOFF: Final = Backoff(0.5, 15.0)
"""Seconds before a worker is started again; doubled after each short life."""
SHORT_LIFE: Final = 60.0
"""Seconds: a worker that ends earlier does so again, probably."""
MOST_SHORT_LIVES: Final = 6
"""Short lives in a row, of one worker, after which the parent ends: with the back-off about half a minute."""
FINAL: Final = {EXIT_SETTINGS: EXIT_SETTINGS, EXIT_USAGE: EXIT_SETTINGS, EXIT_UNREACHABLE: EXIT_UNREACHABLE}
"""Exit codes of a worker whose first start fails for good, and the parent's exit code then.

At a later start they do not end the parent: the other workers continue while Kafka or the servers are away, or while
the settings file is being edited, and an end of all would throw away what they have read.
"""


@dataclass(frozen=True, slots=True)
class StartAgain:
    """Start the worker after this time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Shut all workers down, and end with this code."""

    code: int


@dataclass(frozen=True, slots=True)
class Lives:
    """The past of one worker: an earlier life never counts after one that was long enough."""

    short: int = 0
    failed_starts: int = 0
    """Starts in a row that failed for a reason that another start does not remove."""
    is_first: bool = True

    def ended(self, code: int, seconds: float) -> tuple[StartAgain | GiveUp, Lives]:
        """What follows an end that nobody asked for; ``code`` is negative for a signal."""
        has_failed = code in FINAL
        if has_failed and self.is_first:
            return GiveUp(FINAL[code]), self
        short = self.short + 1 if seconds < SHORT_LIFE and not has_failed else 0
        failed_starts = self.failed_starts + 1 if has_failed else 0
        lives = replace(self, short=short, failed_starts=failed_starts, is_first=False)
        if short >= MOST_SHORT_LIVES:
            return GiveUp(EXIT_FATAL), lives
        return StartAgain(BACKOFF.delay(max(0, short + failed_starts - 1))), lives
