"""Shows the arriving events while the demo runs: lines, the status line, and a note on events that were not shown."""

from __future__ import annotations

from collections import deque

from bridge.admin.tail.lines import Line, LineBuilder
from bridge.clock import monotonic
from bridge.demo.screen import Screen
from bridge.demo.system import DemoSystem

_STATUS_INTERVAL = 2.0
"""Seconds between two status lines where they cannot be redrawn in place."""
_MOST_LINES = 16
"""Lines per update on a terminal: nobody reads more than 160 a second, and drawing needs more CPU than all the rest."""
_HIDDEN_INTERVAL = 1.0
_SECONDS_KEPT = 60
_RATE_SECONDS = 3
"""Seconds of the average rate: over fewer it jumps, over more it lags behind the screen."""


class LiveView:
    """One thread, which calls ``update`` about ten times a second."""

    def __init__(self, system: DemoSystem, screen: Screen) -> None:
        self.phase = "Ctrl-C ends it"
        """The last part of the status line."""
        self._system = system
        self._screen = screen
        self._lines = LineBuilder()
        self._began = self._status_at = self._hidden_at = monotonic()
        self._hidden = 0
        self._second = 0
        self._per_second: deque[int] = deque([0], maxlen=_SECONDS_KEPT)

    @property
    def elapsed(self) -> float:
        return monotonic() - self._began

    def update(self) -> None:
        now = monotonic()
        self._show(self._new_lines(now))
        if self._hidden and now - self._hidden_at > _HIDDEN_INTERVAL:
            self._screen.note(f"{self._hidden} more events arrived, too many to show")
            self._hidden, self._hidden_at = 0, now
        if self._screen.is_live or now - self._status_at > _STATUS_INTERVAL:
            self._status_at = now
            full_seconds = list(self._per_second)[:-1] or list(self._per_second)
            self._screen.status(self._status(full_seconds), full_seconds)

    def finish(self) -> None:
        self._show([*self._new_lines(monotonic()), *self._lines.rest()])

    def _new_lines(self, now: float) -> list[Line]:
        records, missed = self._system.consumer.new_records()
        self._hidden += missed
        self._count(len(records) + missed)
        lines = [line for record in records for line in self._lines.add(record, now)]
        return [*lines, *self._lines.due(now)]

    def _count(self, events: int) -> None:
        """Count events for the current second."""
        passed = int(self.elapsed) - self._second
        self._second += passed
        self._per_second.extend([0] * min(passed, _SECONDS_KEPT))
        self._per_second[-1] += events

    def _show(self, lines: list[Line]) -> None:
        shown = lines[-_MOST_LINES:] if self._screen.is_live else lines
        self._hidden += sum(line.events for line in lines[: len(lines) - len(shown)])
        self._screen.show(shown)

    def _status(self, per_second: list[int]) -> str:
        minutes, seconds = divmod(int(self.elapsed), 60)
        recent = per_second[-_RATE_SECONDS:]
        accepted = self._system.consumer.received.accepted
        parts = (
            f"{minutes:02}:{seconds:02}",
            f"{round(sum(recent) / len(recent))} events/s",
            f"{accepted} events",
            f"lag {max(0, self._system.sent - accepted)}",
            f"{len(self._system.sessions())} sessions",
            self.phase,
        )
        return " │ ".join(parts)
