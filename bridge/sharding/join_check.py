"""The checks before a process joins its group, for the first time or again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.records.member_metadata import MemberMetadata
from bridge.errors import SettingsError, Stopped, Unreachable
from bridge.kafka.group import GroupDescription, GroupMember, look_at_group
from bridge.kafka.group_consumer import GroupConsumer, GroupSettings
from bridge.sharding.guarantees import GRACE, SILENCE, GuaranteeCheck, mixed
from bridge.sharding.replica import is_dead

log = get_logger("bridge.membership")

_INTERVAL = 0.5
"""Seconds between two checks of a group that cannot be joined yet."""
_TIMEOUT = 2.0
"""Seconds for one request: a stop is noticed only between two."""


class DuplicateInstance:
    """Whether a live process has the name of this one.

    A restart after a crash finds its former process still in the group, for as long as the session time-out. Only the
    heartbeat distinguishes it from a live process, which must not be disturbed. Thread rule: one thread.
    """

    def __init__(
        self, of: GroupSettings, instance: str, run: str, now: float, is_dead: Callable[[str], bool] = is_dead
    ) -> None:
        """``run`` is this process; ``is_dead``: whether the process with this ``run`` is known to be dead."""
        self._instance, self._run = instance, run
        self._is_dead = is_dead
        self._began = self._stable_since = now
        self._session_timeout = of.session_timeout + GRACE
        self._rebalance_timeout = of.max_poll_interval + GRACE
        self._first: dict[int, MemberMetadata] | None = None

    def is_gone(self, group: GroupDescription | None, members: Mapping[int, MemberMetadata], now: float) -> bool:
        """Whether the name is free; False: check again. Raises ``SettingsError`` when a live process has it.

        ``group`` is None where only the committed metadata is known.
        """
        same = {shard: member for shard, member in members.items() if member.instance == self._instance}
        if self._first is None:
            self._first = same
        member = None if group is None else group.named(self._instance)
        # An earlier client of this process may still commit when it joins again.
        changed = [each for shard, each in same.items() if each.run != self._run and self._first.get(shard) != each]
        if any(not each.has_left for each in changed):
            raise duplicate_error(self._instance, member, changed)
        if group is None:
            return not self._may_be_alive(same.values()) or now - self._began >= SILENCE
        return member is None or self._is_dead_member(member, same, now, is_stable=group.is_stable)

    def _may_be_alive(self, members: Iterable[MemberMetadata]) -> bool:
        return any(not each.has_left and not self._is_dead(each.run) for each in members)

    def _is_dead_member(
        self, member: GroupMember, same: Mapping[int, MemberMetadata], now: float, *, is_stable: bool
    ) -> bool:
        own = [same[shard] for shard in member.shards if shard in same]
        if own and not self._may_be_alive(own):
            return True
        if member.shards and is_stable:
            return now - self._began >= SILENCE
        # Without shards it commits nothing, and during a rebalance it cannot. Only the coordinator's clocks decide: it
        # keeps a dead member that waits for the others until the rebalance is over, and then for the session time-out.
        # Waiting costs little: no session of this name is bridged meanwhile.
        if not is_stable:
            self._stable_since = now
            is_over = now - self._began >= self._rebalance_timeout
        else:
            is_over = now - self._stable_since >= self._session_timeout
        if is_over and not member.shards:
            raise duplicate_error(self._instance, member, same.values())
        return is_over


def duplicate_error(instance: str, member: GroupMember | None, members: Iterable[MemberMetadata]) -> SettingsError:
    """The error that another live process has this name: its ``member`` of the group and its metadata, if known."""
    owners = (each.owner for each in members if each.instance == instance and not each.has_left)
    owner = "".join(f", {owner}" for owner in list(owners)[:1])
    host = "" if member is None else f" at {member.host}"
    return SettingsError.of(
        "instance",
        f"another process{owner}{host} runs under the name {instance}: give each process its own name, or stop that one"
        " first",
    )


def foreign_topics(group: GroupDescription, topic: str, instance: str | None) -> frozenset[str]:
    """The topics of members that share another topic than ours; a member with this process's name is ignored."""
    others = [member for member in group.members if instance is None or not member.is_named(instance)]
    return frozenset[str]().union(*(member.topics for member in others)) - {topic}


def foreign(group: str, others: Iterable[str], topic: str) -> SettingsError:
    """The error that the group's members are no bridges that share this topic."""
    return SettingsError.of(
        "namespace",
        f"the members of the consumer group {group} share topic {', '.join(sorted(others))}, not {topic}: another"
        " bridge uses this namespace with another topics.checkpoints, or other consumers use this group; give this"
        " bridge its own namespace, or name the same topic",
    )


class JoinCheck:
    """Looks at the group from outside, through a client that has not joined it. Thread rule: one thread; it waits."""

    def __init__(self, settings: GroupSettings, consumer: GroupConsumer, own: MemberMetadata) -> None:
        self._settings, self._consumer, self._own = settings, consumer, own

    def wait(self, stopped: threading.Event, poll: Callable[[], None]) -> None:
        """Wait until this process may join, also while Kafka is away.

        ``poll`` runs the client's callbacks meanwhile. Raises ``SettingsError`` when it may never join, ``Stopped``.
        """
        settings, began, duplicate = self._settings, monotonic(), None
        guarantees = GuaranteeCheck(self._own.guarantee, settings.session_timeout, began, is_dead)
        if settings.instance is not None:
            duplicate = DuplicateInstance(settings, settings.instance, self._own.run, began)
        while not self._may_join(duplicate, guarantees, began):
            poll()
            if stopped.wait(_INTERVAL):
                raise Stopped

    def _may_join(self, duplicate: DuplicateInstance | None, guarantees: GuaranteeCheck, began: float) -> bool:
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
        found = guarantees.find(group, members, now)
        if isinstance(found, MemberMetadata):
            raise mixed(settings.namespace, self._own.guarantee, found)
        return found and (duplicate is None or duplicate.is_gone(group, members, now))

    def _group(self) -> GroupDescription | None:
        return look_at_group(self._settings.config, self._settings.group, self._settings.topic, _TIMEOUT)
