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
    well_at: float = 0.0
    """When ``/livez`` was last good."""
    is_ready: bool = False
    wants_reload: bool = False
    """SIGHUP came before the worker could take it."""
