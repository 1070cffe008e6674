"""Before a process joins its group: whether it may, and whose place it would take. After it was put out: who did it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import Consumer
from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.errors import SettingsError, Stopped, Unreachable
from bridge.kafka.group import look_at_group, read_members_metadata
from bridge.sharding.duplicates import GRACE, DuplicateInstance, foreign, strangers, taken
from bridge.sharding.process_identity import is_dead

log = get_logger("bridge.membership")

_AGAIN = 0.5
"""Seconds between two looks at a group that cannot be joined yet."""
_TIMEOUT = 2.0
"""Seconds for one question: only between two is a stop heard."""


class JoinCheck:
    """Looks at the group from outside, through a client that has not joined it.

    Thread rule: one thread, which waits.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the group, and who wants to join it
        self,
        config: Mapping[str, Any],
        group: str,
        topic: str,
        partitions: int,
        instance: str | None,
        session_timeout: float,
    ) -> None:
        """``session_timeout`` in seconds: for so long a dead process stays a member."""
        self._config, self._group, self._topic, self._partitions = dict(config), group, topic, partitions
        self._instance, self._session_timeout = instance, session_timeout

    def wait(self, consumer: Consumer, stopped: threading.Event, heed: Callable[[], None]) -> None:
        """Until this process may join, Kafka away or not; raises ``SettingsError`` when it never may, ``Stopped``.

        ``heed`` is called again and again, to hear what the client has to say meanwhile.
        """
        began, duplicate = monotonic(), None
        if self._instance is not None:
            duplicate = DuplicateInstance(self._instance, self._session_timeout, began, is_dead)
        while not self._may_join(consumer, duplicate, began):
            heed()
            if stopped.wait(_AGAIN):
                raise Stopped

    def _may_join(self, consumer: Consumer, duplicate: DuplicateInstance | None, began: float) -> bool:
        try:
            members_metadata = read_members_metadata(consumer, self._group, self._topic, self._partitions, _TIMEOUT)
        except Unreachable as away:
            log.debug("the group cannot be looked at", detail=str(away))  # others tell of a Kafka that is away
            return False
        group, now = look_at_group(self._config, self._group, self._topic, _TIMEOUT), monotonic()
        others = frozenset[str]() if group is None else strangers(group, self._topic, self._instance)
        if others:
            # The dead stay members for a while, also those that were started with other settings.
            if now - began < self._session_timeout + GRACE:
                return False
            raise foreign(self._group, others, self._topic)
        return duplicate is None or duplicate.is_gone(group, members_metadata, now)

    def usurper(self, consumer: Consumer, instance: str, run: str) -> SettingsError:
        """Who has taken the place of the process ``run``, as far as it can be found out quickly."""
        try:
            members_metadata = read_members_metadata(consumer, self._group, self._topic, self._partitions, _TIMEOUT)
            group = look_at_group(self._config, self._group, self._topic, _TIMEOUT)
        except (Unreachable, SettingsError):
            members_metadata, group = {}, None
        member = None if group is None else group.named(instance)
        return taken(
            instance,
            member,
            [member_metadata for member_metadata in members_metadata.values() if member_metadata.run != run],
        )
