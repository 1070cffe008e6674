"""How long ended sessions are not started again, although they are still configured or listed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import inf

from bridge.core.identity import SessionKey

AFTER_END = 60.0
"""Seconds without a new attempt, although the session is still configured or listed: a proxy that answered 404 for a
while must not end the session for good, and a session that is really gone must not be requested all the time."""
AFTER_CRASH = 5.0
"""Seconds before a session whose worker ended by a bug is started again."""


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
