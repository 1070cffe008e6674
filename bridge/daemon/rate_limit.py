"""How fast this process connects to one server: a few at once, then one after the other. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor
from typing import Final, Self

RATE: Final = 200.0
"""Connects a second. 5,000 sessions are read after 25 s; a server spends about 1 ms on each, so a fifth of one core."""
BURST: Final = 50
"""Connects at once after a quiet time. With it 400 sessions of a replica that died are read within 2 s."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Turns to connect, one after the other: a token bucket that says when, so that nobody has to ask again.

    Every connect takes a turn, whatever it is for: a start, a shard that was taken over, a server that is back after it
    has cut all its streams. Times in seconds, by :func:`bridge.clock.monotonic`.
    """

    rate: float = RATE
    burst: int = BURST
    due: float = float("-inf")
    """When the next turn would be, had none been saved for a burst."""

    def turn(self, now: float) -> tuple[float, Self]:
        """Seconds to wait for the next turn, which is taken then."""
        due = max(self.due, now - (self.burst - 1) / self.rate)
        return max(0.0, due - now), replace(self, due=due + 1 / self.rate)

    def places(self, now: float, within: float) -> int:
        """How many turns there are within so many seconds: whoever would wait longer need not be woken yet."""
        due = max(self.due, now - (self.burst - 1) / self.rate)
        return max(0, floor((now + within - due) * self.rate) + 1)

    def given_back(self) -> Self:
        """A turn is not needed any more: those who come wait less. Whoever has a later one keeps it."""
        return replace(self, due=self.due - 1 / self.rate)
