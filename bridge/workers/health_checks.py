"""Asks for the health of the workers on a thread: a worker that hangs must not make the parent hang."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from bridge.workers.queries import Workers

LOOK: Final = 2.0
"""Seconds between two looks."""
_HEALTH: Final = {200: "", 503: ""}


class Health(NamedTuple):
    """What the workers answered, by their number."""

    alive: frozenset[int]
    """Those whose ``/livez`` is good."""
    restored: frozenset[int]
    """Those that have restored their first shards."""


class HealthChecks:
    """Thread rule: one thread; the requests run on others."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._found: queue.SimpleQueue[Health | None] = queue.SimpleQueue()
        self._is_looking = False
        self._looked_at = 0.0

    def next(self, now: float) -> Health | None:
        """The result of a look that has just ended; begins the next one when it is time.

        None also for a look that failed, because the workers use up all threads that the system allows.
        """
        found = None
        with suppress(queue.Empty):
            found = self._found.get_nowait()
            self._is_looking = False
        if not self._is_looking and now - self._looked_at >= LOOK:
            self._looked_at = now
            with suppress(RuntimeError):
                threading.Thread(target=self._look, name="look", daemon=True).start()
                self._is_looking = True
        return found

    def _look(self) -> None:
        found = None
        try:
            with suppress(RuntimeError):
                found = self._asked()
        finally:  # otherwise no look would ever follow
            self._found.put(found)

    def _asked(self) -> Health:
        answers = self._workers.ask_all("/livez")
        alive = {number for number, answer in answers if answer is not None and answer.status == 200}  # noqa: PLR2004 - HTTP's number
        ready = self._workers.documents("/readyz", _HEALTH)
        restored = {each.number for each in ready if each.body is not None and _is_restored(each.body)}
        return Health(frozenset(alive), frozenset(restored))


def _is_restored(body: Mapping[str, Any]) -> bool:
    return any(check.get("name") == "restore" and check.get("ok") for check in body.get("checks", ()))
