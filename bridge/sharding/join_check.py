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
from bridge.sharding.replica import is_dead

log = get_logger("bridge.membership")

SILENCE = 2.5
"""Seconds without a new heartbeat after which a process is dead: a live one commits at least every second, and one that
resumes after a pause accepts no proof as old as this."""
GRACE = 1.0
"""Seconds beyond the session time-out after which the coordinator must have removed a dead member."""

UNFENCED = (
    "its former owner had exactly once, or a version that does not say, and its transactions must be fenced first: this"
    " needs WRITE on the transactional ids of the namespace, also with at least once"
)
"""Why a shard is not owned yet."""
_INTERVAL = 0.5
"""Seconds between two checks of a group that cannot be joined yet."""
_TIMEOUT = 2.0
"""Seconds for one request: a stop is noticed only between two."""


def mixed(namespace: str, guarantee: str, other: MemberMetadata) -> SettingsError:
    """The error of a replica that finds a live one with another guarantee."""
    return SettingsError.of(
        "delivery.guarantee",
        f"it is {guarantee} here, and the running replica {other.owner} of namespace {namespace} has {other.guarantee}:"
        " all replicas of a namespace must have the same, and a rolling change is not possible; to change it, stop all"
        " replicas of the namespace, change the setting of each, then start them (docs/guarantees.md); or give this"
        " one another namespace",
    )


def differs(guarantee: str, member: MemberMetadata) -> bool:
    """Whether the member is known to have another guarantee, and has not left."""
    return not member.has_left and member.guarantee not in {"", guarantee}


class GuaranteeCheck:
    """Before a process joins: whether a live member has another guarantee.

    A member that was killed stays in the group for the session time-out: only the heartbeat distinguishes it from a
    live one. Thread rule: one thread.
    """

    def __init__(self, guarantee: str, session_timeout: float, now: float, is_dead: Callable[[str], bool]) -> None:
        """``is_dead``: whether the process with this ``run`` is known to be dead."""
        self._guarantee = guarantee
        self._is_dead = is_dead
        self._began = now
        self._longest = session_timeout + GRACE
        self._first: Mapping[int, MemberMetadata] | None = None

    def find(
        self, group: GroupDescription | None, members: Mapping[int, MemberMetadata], now: float
    ) -> MemberMetadata | bool:
        """A live member with another guarantee; True: there is none; False: check again.

        ``group`` is None where only the committed metadata is known.
        """
        if self._first is None:
            self._first = dict(members)
        differing = {
            shard: each
            for shard, each in members.items()
            if differs(self._guarantee, each) and not self._is_dead(each.run)
        }
        live = next((each for shard, each in differing.items() if self._first.get(shard) != each), None)
        if live is not None:
            return live
        if group is not None:  # the metadata of a shard without an owner was committed by a process that has ended
            owned = frozenset[int]().union(*(member.shards for member in group.members))
            # During a rebalance no shard has an owner, and even a live member cannot commit.
            is_stable = group.is_stable or not group.members
            if not is_stable:
                return not differing or now - self._began >= self._longest
            differing = {shard: each for shard, each in differing.items() if shard in owned}
        return not differing or now - self._began >= SILENCE


def earlier_with_other(
    own: MemberMetadata, live: Iterable[MemberMetadata], *, owns_shards: bool
) -> MemberMetadata | None:
    """The live member because of which this one must end.

    Two processes that join at the same time do not see each other before, and one that was expelled joins again without
    a check. So each compares itself with the member that has been there longest, and ends if their guarantees differ:
    those that run already continue. ``owns_shards``: a process without shards has committed nothing.
    """
    others = [each for each in live if each.run != own.run and each.guarantee and not each.has_left]
    first = min(others, key=_seniority, default=None)
    if first is None or first.guarantee == own.guarantee or (owns_shards and _seniority(own) < _seniority(first)):
        return None
    return first


def _seniority(member: MemberMetadata) -> tuple[int, str]:
    return member.since_ms, member.run


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
        group, now = look_at_group(settings.config, settings.group, settings.topic, _TIMEOUT), monotonic()
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
