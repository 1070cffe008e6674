"""Sessions that are refused because their server gives no ids: which are tried again, and when."""

from __future__ import annotations

from bridge.clock import Backoff, monotonic
from bridge.core.identity import SessionKey
from bridge.daemon.running_sessions import RunningSession, RunningSessions
from bridge.daemon.session_states import State

_BACKOFF = Backoff(60.0, 3600.0)
"""Seconds until a session that was refused for its missing ids is tried again: servers seldom learn to give ids."""


class Refusals:
    """The refused sessions of this process. Thread rule: the main thread."""

    def __init__(self, running: RunningSessions) -> None:
        self._running = running
        self._tries: dict[SessionKey, int] = {}
        """How often sessions were tried again after they were refused."""
        self._due: set[SessionKey] = set()
        """Those that are tried again at once."""

    def retry(self) -> None:
        """Try each refused session again at the next tick: the operator asked for it, or the settings have changed."""
        self._tries.clear()
        self._due |= {each.key for each in self._running.all() if each.worker.state is State.REFUSED}

    def holds(self, session: RunningSession) -> bool:
        """Whether the session is refused and not due: each connection to a Mix server without ids disturbs runs."""
        worker, key = session.worker, session.key
        if worker.state is not State.REFUSED:
            return False
        if key in self._due:
            self._due.discard(key)
            return False
        tries = self._tries.get(key, 0)
        is_due = worker.retries_refused and monotonic() >= (worker.refused_at or 0.0) + _BACKOFF.delay(tries)
        if is_due:
            self._tries[key] = tries + 1
        return not is_due
