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
"""Exit codes of a worker after which a restart does not help, and the parent's exit code then.

``EXIT_UNREACHABLE`` is one only for the first start: later the other workers wait for Kafka or the servers too, without
a limit, and an end of all would throw away what they have read.
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
    is_first: bool = True

    def ended(self, code: int, seconds: float) -> tuple[StartAgain | GiveUp, Lives]:
        """What follows an end that nobody asked for; ``code`` is negative for a signal."""
        waits = code == EXIT_UNREACHABLE and not self.is_first
        if code in FINAL and not waits:
            return GiveUp(FINAL[code]), self
        short = self.short + 1 if seconds < SHORT_LIFE and not waits else 0
        lives = replace(self, short=short, is_first=False)
        if short >= MOST_SHORT_LIVES:
            return GiveUp(EXIT_FATAL), lives
        return StartAgain(BACKOFF.delay(max(0, short - 1))), lives
