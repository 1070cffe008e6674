"""When sessions that ended, or that were refused for their missing ids, are started again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import inf

from bridge.clock import Backoff, monotonic
from bridge.core.identity import SessionKey
from bridge.daemon.running_sessions import RunningSession, RunningSessions
from bridge.daemon.session_states import State

AFTER_END = 60.0
"""Seconds without a new attempt, although the session is still configured or listed: a proxy that answered 404 for a
while must not end the session for good, and a session that is really gone must not be requested all the time."""
AFTER_CRASH = 5.0
"""Seconds before a session whose worker ended by a bug is started again."""
_BACKOFF = Backoff(60.0, 3600.0)
"""Seconds until a session that was refused for its missing ids is tried again: servers seldom learn to give ids."""


@dataclass(frozen=True, slots=True)
class _CoolDown:
    until: float
    since: float
    """A list later than this that lacks the session ends the cool-down too."""


class CoolDowns:
    """The cool-downs by session, in seconds of :func:`bridge.clock.monotonic`. Thread rule: one thread."""

    def __init__(self) -> None:
        self._active: dict[SessionKey, _CoolDown] = {}

    def start(self, key: SessionKey, now: float, *, crashed: bool) -> None:
        self._active[key] = _CoolDown(now + AFTER_CRASH, inf) if crashed else _CoolDown(now + AFTER_END, now)

    def __iter__(self) -> Iterator[SessionKey]:
        return iter(self._active)

    def cancel(self, keys: Iterable[SessionKey]) -> None:
        for key in keys:
            self._active.pop(key, None)

    def active(self, server: str, now: float, is_unlisted: Callable[[str, float], bool]) -> set[str]:
        """The ids of the sessions of one server that cool down.

        ``is_unlisted(session, moment)``: the server's list later than that moment lacks the session; if it is listed
        again later, it is back.
        """
        mine = {key: each for key, each in self._active.items() if key.server == server}
        over = [key for key, each in mine.items() if each.until <= now or is_unlisted(key.session_id, each.since)]
        self.cancel(over)
        return {key.session_id for key in mine if key not in over}


class Refusals:
    """The refused sessions of this process. Thread rule: the main thread."""

    def __init__(self, running: RunningSessions) -> None:
        self._running = running
        self._tries: dict[SessionKey, int] = {}
        """How often sessions were tried again after they were refused."""
        self._due: set[SessionKey] = set()

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
