"""Who owns which shard: reads what the living owners wrote into the group's book, every few seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bridge.core.records.member_metadata import MemberMetadata
from bridge.errors import BridgeError
from bridge.sharding.liveness import Liveness

_EVERY = 5.0
_FIRST = 1.5
"""Seconds until the second reading: one alone tells of no life."""
_PATIENCE = 11.0
"""Seconds: who is found with the same beat in three readings is gone."""


class ReplicaRegistry:
    """The owners of all shards.

    Thread rule: one thread has ``turn``, which waits no longer than reading the book does; ``living`` is for any.
    """

    def __init__(self, read: Callable[[], Mapping[int, MemberMetadata]]) -> None:
        """``read`` may raise ``BridgeError``: it is tried again soon, and what matters is told by the commits."""
        self._read = read
        self._call = Liveness(_PATIENCE)
        self._next_at = 0.0
        self.living: Mapping[int, MemberMetadata] = {}
        """The badge of the living owner of each shard, as it was a few seconds ago."""

    def turn(self, now: float) -> None:
        """Read when it is time."""
        if now < self._next_at:
            return
        self._next_at = now + (_EVERY if self.living else _FIRST)
        try:
            self._call.see(self._read(), now)
        except BridgeError:
            pass
        finally:
            self.living = self._call.living(now)
