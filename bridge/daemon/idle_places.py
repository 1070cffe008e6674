"""Which sessions of a server give their place to others, when there are more than ``max_sessions``.

A session without an event for ``idle_after`` is stopped for one that is new, or whose entry in the server's list has
changed. It is resumed at its checkpoint when its own entry changes, or when a place is free: nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

_AT_ONCE = 1000
"""Sessions that are stopped in one tick: as many as may connect in some seconds."""


class Activity(NamedTuple):
    """A running session that may be stopped."""

    session_id: str
    idle_since: float
    """By :func:`bridge.clock.monotonic`: its last event, or its start."""


class IdlePlaces:
    """The idle sessions of one server. Thread rule: one thread."""

    def __init__(self, idle_after: float | None) -> None:
        self._idle_after = idle_after
        self._resting: dict[str, int | None] = {}
        """The sessions that were stopped, the longest ago first, and the marks of their entries at that time."""
        self._stopping: set[str] = set()

    @property
    def is_used(self) -> bool:
        """Whether any session is stopped for others."""
        return self._idle_after is not None

    def resting(self, running: AbstractSet[str], marks: Mapping[str, int]) -> Sequence[str]:
        """The stopped sessions whose entry has not changed, the longest ago first. ``marks``: of the present list."""
        self._stopping &= running
        if not self._resting:
            return ()
        return [
            each
            for each, mark in self._resting.items()
            if marks.get(each, mark) == mark and (each not in running or each in self._stopping)
        ]

    def started(self, sessions: Iterable[str]) -> None:
        """These sessions have a place again."""
        for each in sessions:
            self._resting.pop(each, None)

    def to_stop(self, running: Iterable[Activity], needed: int, marks: Mapping[str, int], now: float) -> Sequence[str]:
        """The sessions to stop for ``needed`` others, the longest idle first."""
        count = min(_AT_ONCE, needed - len(self._stopping))
        if self._idle_after is None or count <= 0:
            return ()
        idle = sorted(
            (each.idle_since, each.session_id)
            for each in running
            if now - each.idle_since >= self._idle_after and each.session_id not in self._stopping
        )
        chosen = [session_id for _, session_id in idle[:count]]
        # The mark of the last list: an event that came since then changes the next one.
        self._resting.update({each: marks.get(each) for each in chosen})
        self._stopping.update(chosen)
        return chosen
