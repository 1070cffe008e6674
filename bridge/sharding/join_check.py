"""The checks before a process joins its group, and the reason why it was fenced."""

from __future__ import annotations

import threading
from collections.abc import Callable

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.errors import BridgeError, SettingsError, Stopped, Unreachable
from bridge.kafka.group import GroupDescription, look_at_group
from bridge.kafka.group_consumer import GroupConsumer, GroupSettings
from bridge.sharding.duplicates import GRACE, DuplicateInstance, fenced_error, foreign, foreign_topics
from bridge.sharding.process_identity import is_dead

log = get_logger("bridge.membership")

_INTERVAL = 0.5
"""Seconds between two checks of a group that cannot be joined yet."""
_TIMEOUT = 2.0
"""Seconds for one request: a stop is noticed only between two."""


class JoinCheck:
    """Looks at the group from outside, through a client that has not joined it. Thread rule: one thread; it waits."""

    def __init__(self, settings: GroupSettings, consumer: GroupConsumer) -> None:
        self._settings, self._consumer = settings, consumer

    def wait(self, stopped: threading.Event, poll: Callable[[], None]) -> None:
        """Wait until this process may join, also while Kafka is away.

        ``poll`` runs the client's callbacks meanwhile. Raises ``SettingsError`` when it may never join, ``Stopped``.
        """
        settings, began, duplicate = self._settings, monotonic(), None
        if settings.instance is not None:
            duplicate = DuplicateInstance(settings.instance, settings.session_timeout, began, is_dead)
        while not self._may_join(duplicate, began):
            poll()
            if stopped.wait(_INTERVAL):
                raise Stopped

    def _may_join(self, duplicate: DuplicateInstance | None, began: float) -> bool:
        settings = self._settings
        try:
            members = self._consumer.committed_metadata(_TIMEOUT)
        except Unreachable as away:
            log.debug("the group cannot be read", detail=str(away))  # other parts report that Kafka is away
            return False
        group, now = self._group(), monotonic()
        topics = frozenset[str]() if group is None else foreign_topics(group, settings.topic, settings.instance)
        if topics:
            # Dead processes stay members for a while, also those that were started with other settings.
            if now - began < settings.session_timeout + GRACE:
                return False
            raise foreign(settings.group, topics, settings.topic)
        return duplicate is None or duplicate.is_gone(group, members, now)

    def _group(self) -> GroupDescription | None:
        return look_at_group(self._settings.config, self._settings.group, self._settings.topic, _TIMEOUT)

    def fenced(self, instance: str, run: str) -> BridgeError:
        """The error that ends process ``run`` after the group fenced its name; names the process that has it now.

        If no such process is found, this one may have fenced itself: on a slow machine the client can repeat a request
        of its earlier membership after it joined again. A restart is right then, and it refuses a name that is in use.
        """
        try:
            members, group = self._consumer.committed_metadata(_TIMEOUT), self._group()
        except (Unreachable, SettingsError):
            members, group = {}, None
        others = [each for each in members.values() if each.run != run and not is_dead(each.run)]
        return fenced_error(instance, group, others, str(self._settings.config.get("client.id")))
