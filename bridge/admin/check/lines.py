"""The lines of ``mix-bridge check``: each check becomes one line, and each failure has a hint. Pure."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping, Sequence

from bridge.admin.check.line import Line, State, line_of
from bridge.admin.text import counted
from bridge.core.records.member_metadata import MemberMetadata
from bridge.errors import BridgeError, SettingsError, Unreachable
from bridge.kafka.brokers import BrokerLimits
from bridge.kafka.connection_failures import REMEDIES, ConnectionFailure, NotReached
from bridge.kafka.group import GroupDescription, GroupMember
from bridge.kafka.topics import TopicDescription, TopicPlan, examine, needed_bytes
from bridge.mix.sessions import NoList, ServerUnavailable
from bridge.settings import Settings
from bridge.settings.naming import TRANSACTION_TIMEOUT, group_of, servers_fingerprint, transactional_ids_of
from bridge.settings.server import name_the_sessions
from bridge.sharding.join_check import differs, foreign, foreign_topics


def kafka_unreachable(error: Unreachable) -> Line:
    """Kafka cannot be reached."""
    known = error if isinstance(error, NotReached) else NotReached(ConnectionFailure.OTHER, str(error))
    return Line("kafka", State.FAILED, known.detail, REMEDIES[known.connection_failure])


def topic_line(
    planned: TopicPlan,
    found: Mapping[str, TopicDescription | None],
    objections: Mapping[str, str],
    settings: Settings,
) -> Line:
    """Judge one topic as a start does.

    ``found`` has no entry for topics that the bridge may not describe; ``objections``: why Kafka would refuse to create
    a missing topic.
    """
    if planned.name not in found:
        hint = f"grant Describe on it to the bridge's user, or name another topic ({planned.key})"
        return Line(f"topic {planned.name}", State.FAILED, "the bridge may not describe it", hint)
    topic = found[planned.name]
    if topic is not None:
        return _existing(planned, topic, settings)
    subject = f"topic {planned.name}"
    if not settings.topics.create:
        hint = f"create it, set topics.create = true, or name another one ({planned.key})"
        return Line(subject, State.FAILED, "does not exist, and topics.create is false", hint)
    if (objection := objections.get(planned.name)) is not None:
        hint = "correct topics.partitions, topics.replication_factor or topics.config, or grant Create to the bridge"
        return Line(subject, State.FAILED, f"does not exist, and Kafka would not create it: {objection}", hint)
    copies = planned.replication_factor or "the brokers' number of"
    how = f"{counted(planned.partitions, 'partition')} and {copies} replicas"
    return Line(subject, State.OK, f"does not exist: `run` creates it, with {how}")


def _existing(planned: TopicPlan, topic: TopicDescription, settings: Settings) -> Line:
    subject = f"topic {planned.name}"
    if topic.config is None:  # for a start this is a warning
        return Line(subject, State.FAILED, "the bridge may not read its settings", "grant DescribeConfigs on it")
    needed = {"READ", "WRITE"} if planned.compacted else {"WRITE"}
    if lacking := sorted(needed - topic.operations) if topic.operations is not None else []:
        names = " and ".join(lacking)
        return Line(subject, State.FAILED, f"the bridge may not {names.lower()} it", f"grant {names} on it")
    problems = examine(planned, topic, needed_bytes(settings))
    for state, mistakes in ((State.FAILED, problems.mistakes), (State.WARNING, problems.warnings)):
        if mistakes:  # the subject names the topic already
            return line_of(subject, mistakes[0], mistakes[0].message.removeprefix(f"{subject} "), state)
    policy = topic.config.get("cleanup.policy", "delete")
    limit = "" if planned.compacted else f", max.message.bytes={topic.max_message_bytes}"
    return Line(subject, State.OK, f"{counted(topic.partitions, 'partition')}, cleanup.policy={policy}{limit}")


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
    count = len(group.members)
    running = f"{counted(count, 'replica') if count else 'no replica'} {'run' if count > 1 else 'runs'}"
    return Line(subject, State.OK, f"the bridge may join it; {running}")


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
    mixed = [each for each in running.values() if differs(settings.delivery.guarantee, each)]
    if mixed:
        owners = ", ".join(sorted(f"{each.owner} ({each.guarantee})" for each in mixed))
        detail = f"these run with another guarantee than the settings here ({settings.delivery.guarantee}): {owners}"
        hint = "stop all replicas of the namespace, change delivery.guarantee in the settings of each, then start them"
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


def server_answers(name: str, settings: Settings, listed: int, chosen: int, skipped: str | None) -> Line:
    """A server listed its sessions; ``chosen`` of them pass the filters."""
    server, subject = settings.servers[name], f"server {name}"
    detail = f"{server.url.public} answers: {listed} sessions listed, {chosen} to bridge"
    if chosen > server.max_sessions:
        hint = f"raise servers.{name}.max_sessions ({server.max_sessions}), or narrow servers.{name}.created_within"
        return Line(subject, State.WARNING, f"{detail}, more than are allowed", hint)
    if skipped is not None:
        hint = "the sessions of those entries are not bridged: check the server"
        return Line(subject, State.WARNING, f"{detail}; {skipped}", hint)
    return Line(subject, State.OK, detail)


def server_connects(name: str, settings: Settings) -> Line:
    """A server accepts connections; no request was sent to it."""
    server = settings.servers[name]
    what = f"{server.url.public} accepts connections"
    if server.proxy is not None:
        what = f"the proxy {server.proxy.public} accepts connections (the server behind it was not asked)"
    ids = counted(len(server.sessions), "session")
    return Line(f"server {name}", State.OK, f"{what}; no stream was opened, for {ids}")


def server_unreachable(name: str, settings: Settings, detail: str, error: BaseException) -> Line:
    """A server gave no answer, or one that no Mix server gives."""
    server, subject = settings.servers[name], f"server {name}"
    hint = _remedy(f"servers.{name}", error)
    detail = f"{server.url.public}: {detail}"
    if server.discover and server.sessions and isinstance(error, ServerUnavailable) and error.answered:
        ids = f"its {len(server.sessions)} configured sessions are bridged anyway"
        hint = "" if isinstance(error, NoList) else f"{hint}, or "
        return Line(subject, State.WARNING, f"{detail}; {ids}", f"{hint}set servers.{name}.discover = false")
    if isinstance(error, NoList):
        hint = f"{name_the_sessions(name)}. If it is a Mix agent server that does, check servers.{name}.url"
    return Line(subject, State.FAILED, detail, hint)


def _remedy(key: str, error: BaseException | None) -> str:
    """The advice for the innermost cause that has one."""
    not_mix = f"is this a Mix agent server, and {key}.url its base?"
    chain: list[BaseException] = []
    while error is not None:
        chain.append(error)
        error = error.__cause__ or error.__context__
    status = next((each.status for each in chain if isinstance(each, ServerUnavailable)), None)
    if status is not None:
        return f"check {key}.token (or token_file, or headers)" if status in {401, 403} else not_mix
    for kinds, hint in _HINTS:
        if any(isinstance(each, kinds) for each in chain):
            return hint.format(key=key)
    if isinstance(chain[0], ServerUnavailable) and chain[0].answered:
        return not_mix
    return f"check {key}.url, and whether the server runs"


_HINTS: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLError, "check {key}.ca_file, client_cert_file and the host name in {key}.url"),
    (socket.gaierror, "this machine cannot resolve the host name: correct {key}.url, or the resolver"),
    (ConnectionRefusedError, "no program listens there: start the server, or correct {key}.url"),
    (FileNotFoundError, "correct {key}.token_file"),
    (PermissionError, "make {key}.token_file readable for the bridge's user"),
    (TimeoutError, "check for a firewall between this machine and the server"),
)


def no_answer(subject: str, waited: float) -> Line:
    """A check did not end in time."""
    hint = "check for a firewall, or a resolver that hangs"
    return Line(subject, State.FAILED, f"no answer within {waited:g} s", hint)
