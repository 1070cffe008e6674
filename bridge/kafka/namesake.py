"""May this process join: who else bears its name, and who else uses its group. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.core.badge import Badge
from bridge.errors import SettingsError
from bridge.kafka.group_look import GroupSeen, MemberSeen

STILL = 2.5
"""Seconds without a new beat after which a namesake counts as dead: a living one commits at least every second."""
_GRACE = 1.0
"""Seconds beyond the session time-out after which the coordinator must have dropped a dead member."""


class Namesake:
    """Whether a process lives that has the name of this one.

    A restart after a crash finds its own former self still in the group, for as long as the session time-out: only the
    beat tells it from another process, which must not be disturbed. Thread rule: one thread.
    """

    def __init__(self, instance: str, session_timeout: float, now: float) -> None:
        self._instance = instance
        self._began = now
        self._longest = session_timeout + _GRACE
        self._first: dict[int, Badge] | None = None

    def is_gone(self, group: GroupSeen, badges: Mapping[int, Badge], now: float) -> bool:
        """Whether the name is free, by one more look; False: look again. Raises ``SettingsError`` when it is taken."""
        member = group.named(self._instance)
        if member is None:
            return True
        written = {shard: badge for shard, badge in badges.items() if badge.instance == self._instance}
        if self._first is None:
            self._first = written
        moved = [badge for shard, badge in written.items() if self._first.get(shard) != badge]
        if any(not badge.has_left for badge in moved):
            raise self._taken(member, moved)
        mine = [written[shard] for shard in member.shards if shard in written]
        if mine and all(badge.has_left for badge in mine):
            return True
        return self._has_waited(group, member, list(written.values()), now)

    def _has_waited(self, group: GroupSeen, member: MemberSeen, written: list[Badge], now: float) -> bool:
        waited = now - self._began
        if member.shards and group.is_stable:
            return waited >= STILL
        # Without a shard it writes nothing, and between two assignments it cannot: only the coordinator's own clock
        # tells, and to wait costs little, because nothing of this name is bridged meanwhile.
        if waited < self._longest:
            return False
        if member.shards:
            return True
        raise self._taken(member, written)

    def _taken(self, member: MemberSeen, badges: list[Badge]) -> SettingsError:
        owner = next((badge.owner for badge in badges if not badge.has_left), self._instance)
        return SettingsError.of(
            "instance",
            f"{self._instance} is the name of a process that runs: {owner} at {member.host}; give each process a name"
            " of its own, or stop that one first",
        )


def check_company(group: GroupSeen, name: str, topic: str) -> None:
    """Raises ``SettingsError`` when the group's members are not bridges that share this topic."""
    others = sorted({other for member in group.members for other in member.topics} - {topic})
    if others:
        raise SettingsError.of(
            "namespace",
            f"the members of the consumer group {name} share topic {', '.join(others)}, not {topic}: another bridge"
            " uses this namespace with another topics.checkpoints, or other consumers use this group; give this one a"
            " namespace of its own, or name the same topic",
        )
