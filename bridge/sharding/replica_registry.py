"""The live owners of all shards: those whose committed metadata changes. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from bridge.core.records.member_metadata import MemberMetadata
from bridge.errors import BridgeError

_INTERVAL = 5.0
_FIRST = 1.5
"""Seconds until the second reading: a single one does not show who is alive."""
_TIMEOUT = 11.0
"""Seconds: a process with the same heartbeat in three readings is dead."""


@dataclass(frozen=True, slots=True)
class _Seen:
    member: MemberMetadata
    changed_at: float | None
    """When it was first read with this heartbeat; None before the first change."""


class ReplicaRegistry:
    """The owners of all shards. Thread rule: one thread calls ``turn``; ``live`` is for any thread."""

    def __init__(self) -> None:
        self.live: Mapping[int, MemberMetadata] = {}
        """The metadata of the live owner of each shard, as of a few seconds ago."""
        self._seen: dict[int, _Seen] = {}
        self._next_at = 0.0

    def turn(self, now: float, read: Callable[[], Mapping[int, MemberMetadata]]) -> None:
        """Read when it is time. If ``read`` raises ``BridgeError``, the next turn tries again after the interval."""
        if now < self._next_at:
            return
        self._next_at = now + (_INTERVAL if self.live else _FIRST)
        with suppress(BridgeError):  # errors that matter come from the commits
            self._seen = {shard: self._compared(shard, member, now) for shard, member in read().items()}
        self.live = {shard: seen.member for shard, seen in self._seen.items() if _is_live(seen, now)}

    def _compared(self, shard: int, member: MemberMetadata, now: float) -> _Seen:
        before = self._seen.get(shard)
        if before is None:  # nobody knows how old it is
            return _Seen(member, None)
        return before if before.member == member else _Seen(member, now)


def _is_live(seen: _Seen, now: float) -> bool:
    return seen.changed_at is not None and now - seen.changed_at <= _TIMEOUT and not seen.member.has_left
