"""Replicas with different guarantees must not share a namespace: which of them ends. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from bridge.core.records.member_metadata import MemberMetadata
from bridge.errors import SettingsError
from bridge.kafka.group import GroupDescription

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
