"""Who owns which shard: reads what the living owners wrote into the group's book, every few seconds."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from bridge.core.badge import Badge
from bridge.core.roll_call import RollCall
from bridge.errors import BridgeError
from bridge.kafka.group_look import GroupLook

_EVERY = 5.0
_FIRST = 1.5
"""Seconds until the second reading: one alone tells of no life."""
_PATIENCE = 11.0
"""Seconds: who is found with the same beat in three readings is gone."""


class Roll:
    """The owners of all shards.

    Thread rule: one thread has ``turn``, which never waits; ``living`` is for any.
    """

    def __init__(self, look: GroupLook) -> None:
        self._look = look
        self._call = RollCall(_PATIENCE)
        self._answer: Future[Any] | None = None
        self._next_at = 0.0
        self.living: Mapping[int, Badge] = {}
        """The badge of the living owner of each shard, as it was a few seconds ago."""

    def turn(self, now: float) -> None:
        """Ask when it is time, and take down what was answered."""
        if self._answer is not None:
            self._take(self._answer, now)
        elif now >= self._next_at:
            self._next_at = now + (_EVERY if self.living else _FIRST)
            self._answer = self._look.ask_badges()

    def _take(self, answer: Future[Any], now: float) -> None:
        if not answer.done():
            return
        self._answer = None
        with suppress(BridgeError):  # asked again soon, and what matters is told by the commits
            self._call.see(self._look.badges(answer), now)
        self.living = self._call.living(now)
