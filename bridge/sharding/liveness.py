"""Who of those who wrote into the group's book is alive: those whose beat moves. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bridge.core.records.member_metadata import MemberMetadata


@dataclass(frozen=True, slots=True)
class _Seen:
    member_metadata: MemberMetadata
    moved_at: float | None
    """When it was first seen with this beat; None while it has not been seen to move."""


class Liveness:
    """The badges of all shards, as they were read from time to time. Thread rule: one thread."""

    def __init__(self, patience: float) -> None:
        """``patience``: seconds without a new beat after which somebody counts as gone."""
        self._patience = patience
        self._seen: dict[int, _Seen] = {}

    def see(self, members_metadata: Mapping[int, MemberMetadata], now: float) -> None:
        """Take down what was read at ``now``, by shard."""
        self._seen = {
            shard: self._compared(self._seen.get(shard), member_metadata, now)
            for shard, member_metadata in members_metadata.items()
        }

    @staticmethod
    def _compared(before: _Seen | None, member_metadata: MemberMetadata, now: float) -> _Seen:
        if before is None:  # nobody knows how long it has been there
            return _Seen(member_metadata, None)
        return before if before.member_metadata == member_metadata else _Seen(member_metadata, now)

    def living(self, now: float) -> dict[int, MemberMetadata]:
        """Those whose beat has moved lately, by shard."""
        return {
            shard: seen.member_metadata
            for shard, seen in self._seen.items()
            if seen.moved_at is not None and now - seen.moved_at <= self._patience and not seen.member_metadata.has_left
        }
