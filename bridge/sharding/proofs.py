"""Proofs of membership: who waits for one, which commits are under way, and which one the group accepted last."""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf

from bridge.clock import monotonic

_LOOK = 0.1
"""Seconds between two looks whether the one who waits has a reason to stop."""
FRESH = 2.0
"""Seconds for which an accepted commit proves that nobody else has these shards: less than any session time-out, and
less than a restart under the same name waits for a beat (``namesake.STILL``)."""
_PATIENCE = 10
"""Intervals after which a commit that is not answered no longer holds up the next."""
_MOST = 10
"""Commits whose answers are still waited for."""


class Proofs:
    """What workers ask for, and what the member's commits bring.

    Thread rule: ``proven_at``, ``ask`` and ``prove`` are for any thread; the rest is the membership thread's.
    """

    def __init__(self, interval: float, pause: float = 0.1) -> None:
        """A commit every ``interval`` seconds, and ``pause`` seconds after one that brought nothing."""
        self._interval, self._pause = interval, pause
        self._changed = threading.Condition()
        self._proven_at = -inf
        self._wanted_since = -inf
        self._sent: dict[int, float] = {}
        self._sent_at = -inf
        self._is_closed = False

    # Any thread

    @property
    def proven_at(self) -> float:
        """When the newest commit that the group has accepted was sent, by ``clock.monotonic``."""
        return self._proven_at

    def ask(self) -> None:
        """Have membership proven soon."""
        with self._changed:
            self._wanted_since = max(self._wanted_since, monotonic())

    def prove(self, since: float, is_over: Callable[[], bool]) -> bool:
        """Wait for a commit that was sent after ``since`` and accepted; False when ``is_over()``, or at the end."""
        with self._changed:
            self._wanted_since = max(self._wanted_since, since)
            while not self._is_proven(since):
                if self._is_closed or is_over():
                    return False
                self._changed.wait(_LOOK)
        return True

    def _is_proven(self, since: float) -> bool:
        if self._proven_at < since:
            return False
        # The process may have stood still after the commit went out, and be replaced since.
        now = monotonic()
        is_fresh = now - self._proven_at <= FRESH
        if not is_fresh:
            self._wanted_since = now
        return is_fresh

    # The membership thread

    def is_due(self, now: float) -> bool:
        """Whether to commit now: the time has come, or somebody waits; one at a time while answers come."""
        quiet = now - self._sent_at
        if self._sent:
            return quiet >= _PATIENCE * self._interval
        is_wanted = self._wanted_since > self._proven_at
        return quiet >= (self._least_pause() if is_wanted else self._interval)

    def _least_pause(self) -> float:
        return 0.0 if self._proven_at == self._sent_at else self._pause

    def sent(self, beat: int, now: float) -> None:
        """A commit goes out."""
        self._sent[beat] = self._sent_at = now
        for late in list(self._sent)[:-_MOST]:
            del self._sent[late]

    def accepted(self, beat: int) -> None:
        """The group has accepted a commit."""
        sent_at = self._sent.pop(beat, None)
        if sent_at is None:  # from before the shards were lost
            return
        with self._changed:
            self._proven_at = max(self._proven_at, sent_at)
            self._changed.notify_all()

    def refused(self, beat: int) -> None:
        """A commit brought nothing."""
        self._sent.pop(beat, None)

    @property
    def is_settled(self) -> bool:
        """Whether every commit is answered."""
        return not self._sent

    def forget(self) -> None:
        """Membership was lost: no answer to what was sent until now proves anything."""
        self._sent.clear()
        self._wake()

    def close(self) -> None:
        """There will be no proof any more."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
