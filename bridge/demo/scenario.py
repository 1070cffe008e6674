"""The demo from its start to its summary: agents publish, sessions come and go, everything is shown and compared."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import count

from bridge.admin.tail.lines import Line, LineBuilder
from bridge.clock import monotonic
from bridge.demo.screen import Screen
from bridge.demo.summary import Summary
from bridge.demo.system import DemoOptions, DemoSystem
from bridge.errors import FatalFault, Unreachable
from bridge.simulator.faults.kinds import ImmediateFault

_TICK = 0.1
"""Seconds between two updates of the screen."""
_STALL_TIMEOUT = 10.0
"""Seconds without a new record after which the missing events count as lost."""
_FIRST_CHANGES = (2.5, 5.0)
"""Seconds after the first record: a demo of a few seconds shows both changes."""
_CHANGE_INTERVAL = 8.0
_STATUS_INTERVAL = 2.0
"""Seconds between two status lines where they cannot be redrawn in place."""
_MOST_LINES = 16
"""Lines per update on a terminal: nobody reads more than 160 a second, and drawing needs more CPU than all the rest."""
_HIDDEN_INTERVAL = 1.0
_SECONDS_KEPT = 60
_RATE_SECONDS = 3
"""Seconds of the average rate: over fewer it jumps, over more it lags behind the screen."""


def change_times() -> Iterator[float]:
    """Yield when a session is created, one is deleted, and so on, in seconds after the first record."""
    yield from _FIRST_CHANGES
    yield from (_FIRST_CHANGES[-1] + _CHANGE_INTERVAL * number for number in count(1))


class LiveView:
    """Shows the arriving events: lines, the status line, and a note on events that were not shown.

    One thread, which calls ``update`` about ten times a second.
    """

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


class Scenario:
    """One run. One thread; signal handlers put signals into ``signals``."""

    def __init__(self, options: DemoOptions, screen: Screen, signals: queue.SimpleQueue[int]) -> None:
        self._options = options
        self._screen = screen
        self._signals = signals
        self._signal_count = 0
        self._system = DemoSystem(options)
        self._remarks: dict[str, str] = {}
        self._faults = 0

    def run(self) -> Summary:
        """Run the demo; show and return the summary.

        Raises `Unreachable` or `SettingsError` when a component cannot start, `FatalFault` after a second signal.
        """
        with self._system as system:
            system.start(self._screen.component)
            self._view = LiveView(system, self._screen)
            self._play()
            self._finish()
            summary = system.summary()
            if self._options.chaos:
                self._screen.note(f"{self._faults} faults of the Mix server, with this result:")
            self._screen.close()
            self._screen.summary(summary, self._remarks)
        return summary

    def _play(self) -> None:
        first_at: float | None = None
        changes = enumerate(change_times())
        number, due = next(changes)
        while not self._is_over():
            self._tick()
            if first_at is None:
                first_at = monotonic() if self._system.consumer.received.accepted else None
            elif monotonic() - first_at >= due:
                self._change_sessions(is_creation=number % 2 == 0)
                number, due = next(changes)

    def _is_over(self) -> bool:
        seconds = self._options.seconds
        is_time = seconds is not None and self._view.elapsed >= seconds
        return is_time or self._signal_count > 0 or self._screen.is_gone

    def _change_sessions(self, *, is_creation: bool) -> None:
        name = self._system.create_session() if is_creation else self._system.delete_session()
        if name is not None:
            change = "created" if is_creation else "deleted"
            self._screen.note(f"on the Mix server: session {name} was {change}")
            remarks = (self._remarks.get(name), f"{change} during the demo")
            self._remarks[name] = ", ".join(filter(None, remarks))

    def _tick(self) -> None:
        self._wait_for_signal()
        if self._system.daemon.failure is not None:
            raise self._system.daemon.failure
        self._raise_consumer_failure()
        self._system.limit_lag()
        self._show_faults()
        self._view.update()

    def _raise_consumer_failure(self) -> None:
        if self._system.consumer.failure is not None:
            raise Unreachable(self._system.consumer.failure)

    def _show_faults(self) -> None:
        with suppress(queue.Empty):
            while True:
                record = self._system.faults.get_nowait()
                if not record.hits or isinstance(record.fault, ImmediateFault):  # its begin; the end is not shown
                    self._faults += 1
                    self._screen.note(f"on the Mix server: {record.description}")

    def _wait_for_signal(self) -> None:
        with suppress(queue.Empty):
            self._signals.get(timeout=_TICK)
            self._signal_count += 1 + self._signals.qsize()
        if self._signal_count > 1:
            raise FatalFault("ended immediately by a second signal: nothing was compared")

    # --- the end: first the agents, then the events in flight, then the bridge, then the consumer

    def _finish(self) -> None:
        self._view.phase = "the agents are silent, the last events arrive"
        self._system.quiesce()
        self._wait_for_the_rest()
        self._view.phase = "the bridge writes its last checkpoints"
        self._stop_the_bridge()
        self._system.consumer.finish()
        self._raise_consumer_failure()
        self._view.finish()

    def _wait_for_the_rest(self) -> None:
        received = self._system.consumer.received
        moved_at, seen = monotonic(), -1
        while self._system.lag() and monotonic() - moved_at < _STALL_TIMEOUT:
            self._tick()
            if received.accepted != seen:
                moved_at, seen = monotonic(), received.accepted

    def _stop_the_bridge(self) -> None:
        daemon = self._system.daemon
        daemon.stop()
        while not daemon.join(monotonic() + _TICK):
            self._tick()
        if not daemon.is_well:
            self._screen.note("the bridge could not deliver everything in time")
