"""May this process join: who else bears its name, and who else uses its group. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from bridge.core.records.member_metadata import MemberMetadata
from bridge.errors import SettingsError
from bridge.kafka.group import GroupSeen, MemberSeen

STILL = 2.5
"""Seconds without a new beat after which a namesake counts as dead: a living one commits at least every second, and
one that wakes believes no proof that is as old as this."""
GRACE = 1.0
"""Seconds beyond the session time-out after which the coordinator must have dropped a dead member."""


class DuplicateInstance:
    """Whether a process lives that has the name of this one.

    A restart after a crash finds its own former self still in the group, for as long as the session time-out: only the
    beat tells it from another process, which must not be disturbed. Thread rule: one thread.
    """

    def __init__(self, instance: str, session_timeout: float, now: float, is_dead: Callable[[str], bool]) -> None:
        """``is_dead``: whether a process, by its badge's ``run``, is known to be gone."""
        self._instance = instance
        self._is_dead = is_dead
        self._began = now
        self._longest = session_timeout + GRACE
        self._first: dict[int, MemberMetadata] | None = None

    def is_gone(self, group: GroupSeen | None, members_metadata: Mapping[int, MemberMetadata], now: float) -> bool:
        """Whether the name is free, by one more look; False: look again. Raises ``SettingsError`` when it is taken.

        ``group`` is None where only the badges are known.
        """
        written = {
            shard: member_metadata
            for shard, member_metadata in members_metadata.items()
            if member_metadata.instance == self._instance
        }
        if self._first is None:
            self._first = written
        member = None if group is None else group.named(self._instance)
        moved = [
            member_metadata for shard, member_metadata in written.items() if self._first.get(shard) != member_metadata
        ]
        if any(not member_metadata.has_left for member_metadata in moved):
            raise taken(self._instance, member, moved)
        if group is None:
            return not self._waits_for(written.values()) or now - self._began >= STILL
        return member is None or self._is_dead_member(member, written, now, is_stable=group.is_stable)

    def _waits_for(self, members_metadata: Iterable[MemberMetadata]) -> bool:
        return any(
            not member_metadata.has_left and not self._is_dead(member_metadata.run)
            for member_metadata in members_metadata
        )

    def _is_dead_member(
        self, member: MemberSeen, written: Mapping[int, MemberMetadata], now: float, *, is_stable: bool
    ) -> bool:
        its = [written[shard] for shard in member.shards if shard in written]
        if its and not self._waits_for(its):
            return True
        waited = now - self._began
        if member.shards and is_stable:
            return waited >= STILL
        # Without a shard it writes nothing, and between two assignments it cannot: only the coordinator's own clock
        # tells, and to wait costs little, because nothing of this name is bridged meanwhile.
        if waited < self._longest:
            return False
        if not member.shards:
            raise taken(self._instance, member, written.values())
        return True


def taken(instance: str, member: MemberSeen | None, members_metadata: Iterable[MemberMetadata]) -> SettingsError:
    """Another living process has this name: ``member`` of the group, as far as it is known, and perhaps its badge."""
    named = (
        member_metadata
        for member_metadata in members_metadata
        if member_metadata.instance == instance and not member_metadata.has_left
    )
    who = "".join(f", {member_metadata.owner}" for member_metadata in list(named)[:1])
    where = "" if member is None else f" at {member.host}"
    return SettingsError.of(
        "instance",
        f"another process{who}{where} runs under the name {instance}: give each process a name of its own, or stop"
        " that one first",
    )


def strangers(group: GroupSeen, topic: str, instance: str | None) -> frozenset[str]:
    """The topics of members that do not share ours; a member of this process's name is not asked."""
    others = [member for member in group.members if instance is None or not member.is_named(instance)]
    return frozenset[str]().union(*(member.topics for member in others)) - {topic}


def foreign(group: str, others: Iterable[str], topic: str) -> SettingsError:
    """The group's members are not bridges that share this topic."""
    return SettingsError.of(
        "namespace",
        f"the members of the consumer group {group} share topic {', '.join(sorted(others))}, not {topic}: another"
        " bridge uses this namespace with another topics.checkpoints, or other consumers use this group; give this one"
        " a namespace of its own, or name the same topic",
    )
