"""Puts what arrives on the screen: lines, the running count, and a word about what is too much to show."""

from __future__ import annotations

from collections import deque

from bridge.clock import monotonic
from bridge.demo.lines import Line, LineBuilder
from bridge.demo.screen import Screen, Status
from bridge.demo.system import Stage

_COUNT_EVERY = 2.0
"""Seconds between two lines of the running count where it cannot be drawn over."""
_MOST_LINES = 16
"""Lines at a time on a terminal: nobody reads more than 160 a second, and drawing takes the time of all the rest."""
_HIDDEN_EVERY = 1.0
_SECONDS_KEPT = 60


class Commentary:
    """One thread, which calls ``look`` about ten times a second."""

    def __init__(self, stage: Stage, screen: Screen) -> None:
        self.doing = "Ctrl-C ends it"
        """What the running count says is going on."""
        self._stage = stage
        self._screen = screen
        self._passages = LineBuilder()
        self._began = monotonic()
        self._counted_at = self._hidden_told_at = self._began
        self._hidden = 0
        self._second = 0
        self._per_second: deque[int] = deque([0], maxlen=_SECONDS_KEPT)

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return monotonic() - self._began

    def look(self) -> None:
        """Show what has arrived since the last look, and the count."""
        self._show(self._new_lines())
        self._tell_hidden()
        if self._screen.is_live or monotonic() - self._counted_at > _COUNT_EVERY:
            self._counted_at = monotonic()
            self._screen.count(self._status())

    def finish(self) -> None:
        """Show what is left."""
        self._show([*self._new_lines(), *self._passages.rest()])

    def _new_lines(self) -> list[Line]:
        now = monotonic()
        fresh, missed = self._stage.consumer.news()
        self._hidden += missed
        self._note(len(fresh) + missed)
        lines = [line for arrival in fresh for line in self._passages.take(arrival, now)]
        return [*lines, *self._passages.due(now)]

    def _note(self, events: int) -> None:
        """Count the events to the second they came in."""
        passed = int(self.elapsed) - self._second
        self._second += passed
        self._per_second.extend([0] * min(passed, _SECONDS_KEPT))
        self._per_second[-1] += events

    def _show(self, lines: list[Line]) -> None:
        shown = lines[-_MOST_LINES:] if self._screen.is_live else lines
        self._hidden += sum(line.events for line in lines[: len(lines) - len(shown)])
        self._screen.show(shown)

    def _tell_hidden(self) -> None:
        now = monotonic()
        if self._hidden and now - self._hidden_told_at > _HIDDEN_EVERY:
            self._screen.note(f"{self._hidden} more events arrived, too many to show")
            self._hidden, self._hidden_told_at = 0, now

    def _status(self) -> Status:
        stage, full_seconds = self._stage, list(self._per_second)[:-1]
        accepted = stage.consumer.ledger.accepted
        return Status(
            elapsed=self.elapsed,
            per_second=full_seconds or list(self._per_second),
            events=accepted,
            behind=max(0, stage.sent - accepted),
            sessions=len(stage.sessions()),
            doing=self.doing,
        )
