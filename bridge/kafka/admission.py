"""Before a process joins its group: whether it may, and whose place it would take. After it was put out: who did it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.badge import Badge
from bridge.errors import SettingsError, Stopped, Unreachable
from bridge.kafka.group_look import GroupLook, GroupSeen, awaited
from bridge.kafka.life import is_dead
from bridge.kafka.namesake import Namesake, check_company, taken

log = get_logger("bridge.membership")

_AGAIN = 0.5
"""Seconds between two looks at a group that cannot be joined yet."""
_LAST_LOOK = 1.5
"""Seconds that are spent to name the process that has taken this one's place."""


class Admission:
    """Looks at the group from outside. Thread rule: one thread, which waits here."""

    def __init__(self, look: GroupLook, instance: str | None, session_timeout: float, stopped: threading.Event) -> None:
        self._look, self._instance, self._stopped = look, instance, stopped
        self._session_timeout = session_timeout

    def wait(self, beat: Callable[[], None]) -> None:
        """Until this process may join, Kafka away or not; raises ``SettingsError`` when it never may, ``Stopped``."""
        namesake = None
        if self._instance is not None:
            namesake = Namesake(self._instance, self._session_timeout, monotonic(), is_dead)
        while not self._may_join(namesake, beat):
            if self._stopped.wait(_AGAIN):
                raise Stopped

    def _may_join(self, namesake: Namesake | None, beat: Callable[[], None]) -> bool:
        def is_over() -> bool:
            beat()
            return self._stopped.is_set()

        try:
            group = self._group(is_over)
            if group is None:  # an embedded Kafka has nobody else in it
                return True
            check_company(group, self._look.name, self._look.topic)
            return namesake is None or namesake.is_gone(group, self._badges(is_over), monotonic())
        except Unreachable as away:
            log.debug("the group cannot be looked at", detail=str(away))  # others tell of a Kafka that is away
            return False

    def _group(self, is_over: Callable[[], bool]) -> GroupSeen | None:
        return self._look.group(awaited(self._look.ask_group(), is_over))

    def _badges(self, is_over: Callable[[], bool]) -> dict[int, Badge]:
        return self._look.badges(awaited(self._look.ask_badges(), is_over))

    def usurper(self, run: str) -> SettingsError:
        """Who has taken the place of the process ``run``, as far as it can be found out quickly."""
        assert self._instance is not None  # noqa: S101 - told to mypy; only who has a name can be put out by another
        end = monotonic() + _LAST_LOOK
        try:
            group = self._group(lambda: monotonic() >= end)
            badges = [badge for badge in self._badges(lambda: monotonic() >= end).values() if badge.run != run]
        except (Stopped, Unreachable, SettingsError):
            group, badges = None, []
        return taken(self._instance, None if group is None else group.named(self._instance), badges)
