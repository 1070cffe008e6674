"""The lines of ``mix-bridge check`` about what replicas share: group, servers and transactions. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge.admin.check.lines import Line, State, line_of
from bridge.core.records.member_metadata import MemberMetadata
from bridge.errors import BridgeError, SettingsError
from bridge.kafka.broker_limits import BrokerLimits
from bridge.kafka.group import GroupDescription, GroupMember
from bridge.settings import Settings
from bridge.settings.bounds import TRANSACTION_TIMEOUT
from bridge.settings.naming import group_of, servers_fingerprint, transactional_ids_of
from bridge.sharding.duplicates import foreign, foreign_topics


def group_line(settings: Settings, group: GroupDescription, limits: BrokerLimits) -> Line:
    """Return whether a replica can join the group, and how many are members now."""
    name, topic = group_of(settings.namespace), settings.topics.checkpoints
    subject = f"group {name}"
    if group.operations is not None and "READ" not in group.operations:
        return Line(subject, State.FAILED, "the bridge may not join it", "grant READ on it (namespace)")
    if others := foreign_topics(group, topic, settings.instance):
        return refused(subject, foreign(name, others, topic))
    if (mistake := limits.session_timeout_mistake(settings.kafka.group_session_timeout)) is not None:
        return line_of(subject, mistake, mistake.message)
    replicas = {0: "no replica runs", 1: "1 replica runs"}
    count = len(group.members)
    return Line(subject, State.OK, f"the bridge may join it; {replicas.get(count, f'{count} replicas run')}")


def replicas_line(
    settings: Settings, members: Sequence[GroupMember], metadata: Mapping[int, MemberMetadata]
) -> Line | None:
    """Return whether the running replicas have the same servers as these settings; None: no replica is known."""
    # The committed metadata of shards without an owner was written by replicas that have ended.
    owned = frozenset[int]().union(*(member.shards for member in members))
    running = {each.run: each for shard, each in metadata.items() if shard in owned and not each.has_left}
    if not running:
        return None
    fingerprint = servers_fingerprint(settings)
    differing = sorted(each.owner for each in running.values() if each.servers != fingerprint)
    if differing:
        detail = f"these have other servers than the settings here: {', '.join(differing)}"
        hint = "give all replicas of a namespace the same servers (servers.<name>.url), or this one another namespace"
        return Line("replicas", State.FAILED, detail, hint)
    names = ", ".join(sorted(f"{each.owner} (version {each.version})" for each in running.values()))
    return Line("replicas", State.OK, f"with these servers: {names}")


def transactions_allowed(settings: Settings) -> Line:
    """A transaction could begin."""
    ids = f"{transactional_ids_of(settings.namespace)}<shard>"
    return Line("transactions", State.OK, f"the bridge may begin them, as {ids}, for up to {TRANSACTION_TIMEOUT:g} s")


def transactions_refused(error: BridgeError, limits: BrokerLimits) -> Line:
    """No transaction could begin."""
    if isinstance(error, SettingsError) or limits.missing_brokers is None:
        return refused("transactions", error)
    hint = "lower it on every broker, or add brokers; or set delivery.guarantee = at_least_once"
    return Line("transactions", State.FAILED, f"no coordinator: {limits.missing_brokers}", hint)


def refused(subject: str, error: BridgeError) -> Line:
    """Kafka refused a request, or did not answer."""
    if isinstance(error, SettingsError):
        return line_of(subject, error.mistakes[0], error.mistakes[0].message)
    detail, _, hint = str(error).rpartition("; ")
    return Line(subject, State.FAILED, detail or hint, hint if detail else "try again; check the brokers' logs")
