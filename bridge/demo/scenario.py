"""The demo from its start to its verdict: agents talk, sessions come and go, all is shown, ended and compared."""

from __future__ import annotations

import queue
from contextlib import suppress

from bridge.clock import monotonic
from bridge.demo.commentary import Commentary
from bridge.demo.personas import Change, Wishes, cues
from bridge.demo.screen import Screen
from bridge.demo.summary import Verdict
from bridge.demo.system import Stage
from bridge.errors import FatalFault, Unreachable
from bridge.simulator.faults.kinds import ImmediateFault

_TICK = 0.1
"""Seconds between two looks: a screen that moves ten times a second looks alive."""
_STANDSTILL = 10.0
"""Seconds without an arrival after which what is still missing is given up for lost."""


class Scenario:
    """One run. One thread; handlers of signals put them into ``asked_to_end``."""

    def __init__(self, wishes: Wishes, screen: Screen, asked_to_end: queue.SimpleQueue[int]) -> None:
        self._wishes = wishes
        self._screen = screen
        self._asked = asked_to_end
        self._times_asked = 0
        self._stage = Stage(wishes)
        self._remarks: dict[str, str] = {}
        self._faults = 0

    def run(self) -> Verdict:
        """Everything; the verdict is shown and returned.

        Raises `Unreachable` or `SettingsError` when a part cannot start, `FatalFault` when asked to end twice.
        """
        with self._stage as stage:
            stage.start(self._screen.fact)
            self._commentary = Commentary(stage, self._screen)
            self._flow()
            self._settle()
            verdict = stage.verdict()
            if self._wishes.chaos:
                self._screen.note(f"{self._faults} faults of the Mix server, and this is what came of them:")
            self._screen.close()
            self._screen.summary(verdict, self._remarks)
        return verdict

    # --- the flow

    def _flow(self) -> None:
        plot = cues()
        cue, first_at = next(plot), None
        while not self._is_over():
            self._tick()
            if first_at is None:
                first_at = monotonic() if self._stage.consumer.ledger.accepted else None
            elif monotonic() - first_at >= cue.at:
                self._change(cue.change)
                cue = next(plot)

    def _is_over(self) -> bool:
        seconds = self._wishes.seconds
        is_time = seconds is not None and self._commentary.elapsed >= seconds
        return is_time or self._times_asked > 0 or self._screen.is_gone

    def _change(self, change: Change) -> None:
        name = self._stage.change(change)
        if name is not None:
            came_or_went = "a new session" if change is Change.CREATE else "the end of a session"
            self._screen.note(f"on the Mix server: {came_or_went}, {name}")
            remark = "created on the way" if change is Change.CREATE else "deleted on the way"
            self._remarks[name] = ", ".join(filter(None, (self._remarks.get(name), remark)))

    def _tick(self) -> None:
        self._listen()
        if self._stage.daemon.failure is not None:
            raise self._stage.daemon.failure
        if self._stage.consumer.failure is not None:
            raise Unreachable(self._stage.consumer.failure)
        self._stage.keep_up()
        self._tell_faults()
        self._commentary.look()

    def _tell_faults(self) -> None:
        with suppress(queue.Empty):
            while True:
                report = self._stage.faults.get_nowait()
                if not report.hits or isinstance(report.fault, ImmediateFault):  # as it begins; conditions end unsaid
                    self._faults += 1
                    self._screen.note(f"on the Mix server: {report.description}")

    def _listen(self) -> None:
        with suppress(queue.Empty):
            self._asked.get(timeout=_TICK)
            self._times_asked += 1 + self._asked.qsize()
        if self._times_asked > 1:
            raise FatalFault("ended at once, as asked: nothing was compared")

    # --- the end: the agents first, then what is on its way, then the bridge, then the consumer

    def _settle(self) -> None:
        self._commentary.doing = "the agents are silent: what is on its way arrives"
        self._stage.silence()
        self._wait_for_the_rest()
        self._commentary.doing = "the bridge writes its last checkpoints"
        self._stop_the_bridge()
        consumer = self._stage.consumer
        consumer.finish()
        if consumer.failure is not None:
            raise Unreachable(consumer.failure)
        self._commentary.finish()

    def _wait_for_the_rest(self) -> None:
        consumer = self._stage.consumer
        moved_at, seen = monotonic(), -1
        while self._stage.behind() and monotonic() - moved_at < _STANDSTILL:
            self._tick()
            if consumer.ledger.accepted != seen:
                moved_at, seen = monotonic(), consumer.ledger.accepted

    def _stop_the_bridge(self) -> None:
        daemon = self._stage.daemon
        daemon.stop()
        while not daemon.join(monotonic() + _TICK):
            self._tick()
        if not daemon.is_well:
            self._screen.note("the bridge could not deliver everything in time")
