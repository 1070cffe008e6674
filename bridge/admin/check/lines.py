"""What ``mix-bridge check`` says of what it has seen. Pure: each judgement is a line, each failure has its hint."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bridge.admin.check.topics import Seen
from bridge.errors import Mistake
from bridge.kafka.connection_failures import WAYS_ROUND, ConnectionFailure
from bridge.kafka.topics import Found, TopicPlan, counted, examine, needed_bytes
from bridge.mix.sessions import ServerUnavailable
from bridge.settings import Settings


class State(StrEnum):
    """How one check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Line:
    """One check: what was looked at, how it came out, and, unless all is well, what to do about it."""

    subject: str
    state: State
    detail: str
    hint: str | None = None


def passed(lines: Sequence[Line]) -> bool:
    """Whether no check failed; warnings are said, and let pass."""
    return all(line.state is not State.FAILED for line in lines)


# Kafka


def kafka_away(connection_failure: ConnectionFailure, detail: str) -> Line:
    """Kafka could not be reached."""
    return Line("kafka", State.FAILED, detail, WAYS_ROUND[connection_failure])


def kafka_answers(settings: Settings, brokers: int) -> Line:
    """Kafka could be reached."""
    count = "1 broker" if brokers == 1 else f"{brokers} brokers"
    return Line("kafka", State.OK, f"{settings.kafka.bootstrap_servers} answers, a cluster of {count}")


def topic_line(planned: TopicPlan, seen: Seen, settings: Settings) -> Line:
    """One topic, as the start would take it."""
    subject = f"topic {planned.name}"
    if seen.hidden:
        grant = "grant Describe on it to the bridge's user, or name another topic"
        return Line(subject, State.FAILED, "the bridge may not see it", f"{grant} ({planned.key})")
    if seen.found is None:
        return _missing(subject, planned, seen.objection, create=settings.topics.create)
    if seen.found.config is None:
        return Line(subject, State.FAILED, "the bridge may not see its settings", "grant DescribeConfigs on it")
    if lacking := sorted(_needed(planned) - seen.allowed) if seen.allowed is not None else []:
        names = " and ".join(lacking)
        return Line(subject, State.FAILED, f"the bridge may not {names.lower()} it", f"grant {names} on it")
    return _existing(subject, planned, seen.found, settings)


def _needed(planned: TopicPlan) -> frozenset[str]:
    return frozenset({"READ", "WRITE"} if planned.compacted else {"WRITE"})


def _missing(subject: str, planned: TopicPlan, objection: str | None, *, create: bool) -> Line:
    if not create:
        hint = f"create it, set topics.create = true, or name another one ({planned.key})"
        return Line(subject, State.FAILED, "does not exist, and topics.create is false", hint)
    if objection is not None:
        hint = "correct topics.partitions, topics.replication_factor or topics.config, or grant Create to the bridge"
        return Line(subject, State.FAILED, f"does not exist, and Kafka would not create it: {objection}", hint)
    copies = planned.replication_factor or "the brokers' number of"
    how = f"{counted(planned.partitions)} and {copies} replicas"
    return Line(subject, State.OK, f"does not exist: `run` creates it, with {how}")


def _existing(subject: str, planned: TopicPlan, found: Found, settings: Settings) -> Line:
    verdict = examine(planned, found, needed_bytes(settings))
    if verdict.mistakes:
        return _told(subject, State.FAILED, planned, verdict.mistakes[0])
    if verdict.warnings:
        return _told(subject, State.WARNING, planned, verdict.warnings[0])
    policy = (found.config or {}).get("cleanup.policy", "delete")
    budget = f", takes {found.max_message_bytes} bytes" if not planned.compacted else ""
    return Line(subject, State.OK, f"{counted(found.partitions)}, cleanup.policy={policy}{budget}")


def _told(subject: str, state: State, planned: TopicPlan, mistake: Mistake) -> Line:
    """Mistakes say what is wrong, then after a semicolon what to do; the subject has the topic's name already."""
    detail, _, hint = mistake.message.removeprefix(f"topic {planned.name} ").rpartition("; ")
    return Line(subject, state, detail, f"{hint} ({mistake.key})")


# Servers


def server_answers(name: str, settings: Settings, listed: int, chosen: int, flaws: str | None) -> Line:
    """A server listed its sessions: so many, of which so many pass the filters."""
    server, subject = settings.servers[name], f"server {name}"
    detail = f"{server.url.public} answers: {listed} sessions listed, {chosen} to bridge"
    if chosen > server.max_sessions:
        hint = f"raise servers.{name}.max_sessions ({server.max_sessions}), or narrow servers.{name}.created_within"
        return Line(subject, State.WARNING, f"{detail}, more than are allowed", hint)
    if flaws is not None:
        hint = "the sessions that stand in those entries are not bridged: look at the server"
        return Line(subject, State.WARNING, f"{detail}; {flaws}", hint)
    return Line(subject, State.OK, detail)


def server_connects(name: str, settings: Settings) -> Line:
    """A server that is not asked for anything takes connections."""
    server = settings.servers[name]
    what = f"{server.url.public} takes connections"
    if server.proxy is not None:
        what = f"the proxy {server.proxy.public} takes connections (the server behind it was not asked)"
    ids = "1 session" if len(server.sessions) == 1 else f"{len(server.sessions)} sessions"
    return Line(f"server {name}", State.OK, f"{what}; its streams were left alone, for {ids}")


def server_unwell(name: str, settings: Settings, error: ServerUnavailable) -> Line:
    """A server that lists sessions, but does not say that all is well."""
    url = settings.servers[name].url.public
    return Line(f"server {name}", State.WARNING, f"{url} lists sessions, but {error.detail}", "look at its log")


def server_away(name: str, settings: Settings, detail: str, error: BaseException) -> Line:
    """A server gave no answer, or none that can be believed."""
    server, subject = settings.servers[name], f"server {name}"
    hint = _way_round(f"servers.{name}", error)
    detail = f"{server.url.public}: {detail}"
    if server.discover and server.sessions and isinstance(error, ServerUnavailable) and error.answered:
        ids = f"its {len(server.sessions)} configured sessions are bridged all the same"
        return Line(subject, State.WARNING, f"{detail}; {ids}", f"{hint}, or set servers.{name}.discover = false")
    return Line(subject, State.FAILED, detail, hint)


def _way_round(key: str, error: BaseException) -> str:
    chain = list(_causes(error))
    status = next((each.status for each in chain if isinstance(each, ServerUnavailable)), None)
    if status in {401, 403}:
        return f"check {key}.token (or token_file, or headers)"
    if status is not None:
        return f"is this a Mix agent server, and {key}.url its base?"
    for kinds, hint in _HINTS:
        if any(isinstance(each, kinds) for each in chain):
            return hint.format(key=key)
    if isinstance(error, ServerUnavailable) and error.answered:
        return f"is this a Mix agent server, and {key}.url its base? If not: {key}.discover = false"
    return f"check {key}.url, and whether the server runs"


_HINTS: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLError, "check {key}.ca_file, client_cert_file and the host name in {key}.url"),
    (socket.gaierror, "the name is not known here: correct {key}.url, or the resolver of this machine"),
    (ConnectionRefusedError, "nobody listens there: start the server, or correct {key}.url"),
    (FileNotFoundError, "correct {key}.token_file"),
    (PermissionError, "make {key}.token_file readable for the bridge's user"),
    (TimeoutError, "look for a firewall between here and the server"),
)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


# The rest


def settings_line(settings: Settings) -> Line:
    """The settings were read and are right: else nothing else is checked."""
    servers = ", ".join(sorted(settings.servers))
    return Line("settings", State.OK, f"namespace {settings.namespace}, servers: {servers}")


def port_taken(mistake: Mistake) -> Line:
    """The HTTP endpoint could not listen."""
    detail, _, hint = mistake.message.partition("; ")
    return Line("http", State.FAILED, detail, f"stop that program (perhaps a running mix-bridge), or {hint}")


def no_answer(subject: str, waited: float) -> Line:
    """A check did not come to its end."""
    return Line(
        subject, State.FAILED, f"no answer within {waited:g} s", "look for a firewall, or a resolver that hangs"
    )
