"""Whether a run of the agent is in progress in a session."""

from __future__ import annotations

from bridge.daemon.counters import SessionCounters

_ENDS = frozenset({"complete", "error"})
_QUIET_AFTER = 5.0
"""Seconds without an event after which a stream without runs is quiet."""


class Runs:
    """The runs of one session, as far as its events show. Thread rule: the worker, except for ``is_quiet`` (any)."""

    def __init__(self, counters: SessionCounters, *, has_runs: bool) -> None:
        """``has_runs``: the events are a Mix agent's."""
        self._counters = counters
        self._has_runs = has_runs
        self._last_event = ""

    def note(self, event: str) -> None:
        """Note the name of the newest event."""
        self._last_event = event or self._last_event

    def is_quiet(self, now: float) -> bool:
        """Whether no run is in progress."""
        if self._last_event in _ENDS or not self._last_event:
            return True
        is_idle = now - (self._counters.last_event_at or now) >= _QUIET_AFTER
        return is_idle and not self._has_runs
