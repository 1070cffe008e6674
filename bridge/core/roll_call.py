"""Who of those who wrote into the group's book is alive: those whose beat moves. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bridge.core.badge import Badge


@dataclass(frozen=True, slots=True)
class _Seen:
    badge: Badge
    moved_at: float | None
    """When it was first seen with this beat; None while it has not been seen to move."""


class RollCall:
    """The badges of all shards, as they were read from time to time. Thread rule: one thread."""

    def __init__(self, patience: float) -> None:
        """``patience``: seconds without a new beat after which somebody counts as gone."""
        self._patience = patience
        self._seen: dict[int, _Seen] = {}

    def see(self, badges: Mapping[int, Badge], now: float) -> None:
        """Take down what was read at ``now``, by shard."""
        self._seen = {shard: self._compared(self._seen.get(shard), badge, now) for shard, badge in badges.items()}

    @staticmethod
    def _compared(before: _Seen | None, badge: Badge, now: float) -> _Seen:
        if before is None:  # nobody knows how long it has been there
            return _Seen(badge, None)
        return before if before.badge == badge else _Seen(badge, now)

    def living(self, now: float) -> dict[int, Badge]:
        """Those whose beat has moved lately, by shard."""
        return {
            shard: seen.badge
            for shard, seen in self._seen.items()
            if seen.moved_at is not None and now - seen.moved_at <= self._patience and not seen.badge.has_left
        }
