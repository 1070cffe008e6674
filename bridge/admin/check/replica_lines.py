"""What ``mix-bridge check`` says of what replicas share: their group, their servers, their transactions. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge.admin.check.broker_limits import BrokerLimits
from bridge.admin.check.group import GroupSurveyed
from bridge.admin.check.lines import Line, State, line_of
from bridge.core.records.member_metadata import MemberMetadata
from bridge.errors import BridgeError, SettingsError
from bridge.kafka.group import MemberSeen
from bridge.settings import Settings
from bridge.settings.bounds import TRANSACTION_TIMEOUT
from bridge.settings.naming import group_of, servers_fingerprint, transactional_ids_of
from bridge.sharding.duplicates import foreign, strangers


def group_line(settings: Settings, found: GroupSurveyed, limits: BrokerLimits) -> Line:
    """Whether a replica could be a member, and who is one now."""
    group = group_of(settings.namespace)
    if found.allowed is not None and "READ" not in found.allowed:
        return Line(f"group {group}", State.FAILED, "the bridge may not join it", "grant READ on it (namespace)")
    topic = settings.topics.checkpoints
    if others := strangers(found.seen, topic, settings.instance):
        return _refused(f"group {group}", foreign(group, others, topic))
    if (mistake := limits.against_session_timeout(settings.kafka.group_session_timeout)) is not None:
        return line_of(f"group {group}", mistake, mistake.message)
    return Line(f"group {group}", State.OK, f"the bridge may join it; {_count(found.seen.members)}")


def group_refused(settings: Settings, error: BridgeError) -> Line:
    """The group could not be looked at."""
    return _refused(f"group {group_of(settings.namespace)}", error)


def _count(members: Sequence[MemberSeen]) -> str:
    if not members:
        return "no replica runs"
    return "1 replica runs" if len(members) == 1 else f"{len(members)} replicas run"


def replicas_line(
    settings: Settings, members: Sequence[MemberSeen], members_metadata: Mapping[int, MemberMetadata]
) -> Line | None:
    """Whether those that run name the same servers as these settings; None when none is known to."""
    # What else is written there is from replicas that are gone.
    owned = frozenset[int]().union(*(member.shards for member in members))
    living = {
        member_metadata.run: member_metadata
        for shard, member_metadata in members_metadata.items()
        if shard in owned and not member_metadata.has_left
    }
    if not living:
        return None
    ours = servers_fingerprint(settings)
    differing = sorted(member_metadata.owner for member_metadata in living.values() if member_metadata.servers != ours)
    if differing:
        detail = f"these name other servers than the settings here: {', '.join(differing)}"
        hint = "give all replicas of a namespace the same servers (servers.<name>.url), or this one another namespace"
        return Line("replicas", State.FAILED, detail, hint)
    names = ", ".join(
        sorted(f"{member_metadata.owner} (version {member_metadata.version})" for member_metadata in living.values())
    )
    return Line("replicas", State.OK, f"with these servers: {names}")


def transactions_begin(settings: Settings) -> Line:
    """A transaction could be begun."""
    ids = f"{transactional_ids_of(settings.namespace)}<shard>"
    return Line("transactions", State.OK, f"the bridge may begin them, as {ids}, for up to {TRANSACTION_TIMEOUT:g} s")


def transactions_refused(error: BridgeError, limits: BrokerLimits) -> Line:
    """None could be begun."""
    line = _refused("transactions", error)
    if isinstance(error, SettingsError) or limits.shortage is None:
        return line
    hint = "lower it on every broker, or add brokers; or set delivery.guarantee = at_least_once"
    return Line("transactions", State.FAILED, f"no coordinator: {limits.shortage}", hint)


def _refused(subject: str, error: BridgeError) -> Line:
    if isinstance(error, SettingsError):
        return line_of(subject, error.mistakes[0], error.mistakes[0].message)
    detail, _, hint = str(error).rpartition("; ")
    return Line(subject, State.FAILED, detail or hint, hint if detail else "try again; look at the brokers' logs")
