"""The place of one worker, over all its processes."""

from __future__ import annotations

from dataclasses import dataclass, field

from bridge.workers.process import WorkerProcess
from bridge.workers.restarts import Lives


@dataclass(slots=True)
class Slot:
    """The place of one worker. Thread rule: the main thread; other threads read single fields."""

    number: int
    process: WorkerProcess | None = None
    lives: Lives = field(default_factory=Lives)
    starts: int = 0
    start_at: float = 0.0
    fails_since: float | None = None
    """When ``/livez`` was not good for the first time in a row; None: it was good at the last look."""
    is_ready: bool = False
    wants_reload: bool = False
    """SIGHUP came before the worker could take it."""

    def looked(self, now: float, *, is_well: bool) -> float:
        """Note a look at ``/livez``; returns the seconds for which each look has found it bad.

        Only looks count: while the whole machine or container is paused, nobody looks, and nobody can answer.
        """
        if is_well:
            self.fails_since = None
            return 0.0
        self.fails_since = now if self.fails_since is None else self.fails_since
        return now - self.fails_since
