"""Whether the workers of the sessions move: the proof behind the loop ``sessions`` of ``/livez``.

A worker that waits (for its server, for Kafka, in back-off) may wait for ever: an idle stream is no fault. A worker
that does something else must come to its next wait. One that does not is stuck: on a lock, or in a call that never
returns. How long it may take depends on the machine, so a worker is compared with the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SURE_AFTER = 60.0
"""Seconds after which a worker that does not move is stuck although others move."""
_ROUNDS = 10
"""How often, on average, each other worker must have moved meanwhile: on a starved machine all of them are slow."""
_LONGEST_STEP = 1.5
"""Seconds of a step that count: the rest was a stall of the whole process, in which nobody could move."""


class Waiting:
    """What one worker does: ``with waiting:`` surrounds each wait.

    Thread rule: used by the worker, the attributes are read by any thread.
    """

    __slots__ = ("is_busy", "moves")

    def __init__(self) -> None:
        self.is_busy = False
        self.moves = 0
        """Waits that have ended."""

    def __enter__(self) -> None:
        self.is_busy = False

    def __exit__(self, *_: object) -> None:
        self.moves += 1
        self.is_busy = True


@dataclass(frozen=True, slots=True)
class Seen:
    """One worker at one moment."""

    name: object
    is_busy: bool
    moves: int


@dataclass(slots=True)
class _Suspect:
    moves: int
    all_moves: int
    """Of all workers, when this one was first seen busy."""
    seconds: float = 0.0


class ReaderWatch:
    """Compares the workers from one look to the next. Thread rule: ``look`` one thread, ``age`` any."""

    def __init__(self, now: float) -> None:
        self.age = 0.0
        """Seconds for which the readers have been stuck; 0 while they move or wait."""
        self._looked_at = now
        self._suspects: dict[object, _Suspect] = {}
        self._all_moves = 0
        self._moves: dict[object, int] = {}
        self._still = 0.0
        """Seconds without a move of any worker."""

    def look(self, workers: Iterable[Seen], now: float) -> None:
        """Look at all workers; called about twice a second."""
        step, self._looked_at = min(max(0.0, now - self._looked_at), _LONGEST_STEP), now
        seen = {each.name: each for each in workers}
        moved = sum(max(0, each.moves - self._moves.get(name, 0)) for name, each in seen.items())
        self._moves = {name: each.moves for name, each in seen.items()}
        self._all_moves += moved
        self._still = 0.0 if moved else self._still + step
        self._suspects = {name: self._suspect(each, step) for name, each in seen.items() if each.is_busy}
        self.age = max((self._stuck(each, len(seen)) for each in self._suspects.values()), default=0.0)

    def _suspect(self, worker: Seen, step: float) -> _Suspect:
        before = self._suspects.get(worker.name)
        if before is None or before.moves != worker.moves:
            return _Suspect(worker.moves, self._all_moves)
        before.seconds += step
        return before

    def _stuck(self, suspect: _Suspect, count: int) -> float:
        """Seconds for which a worker is surely stuck."""
        if self._all_moves - suspect.all_moves >= _ROUNDS * count and suspect.seconds > SURE_AFTER:
            return suspect.seconds
        return min(suspect.seconds, self._still)
