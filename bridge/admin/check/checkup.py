"""Runs the checks of ``mix-bridge check`` at the same time, within seconds, without changing anything."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

from bridge.admin.check import lines as checks
from bridge.admin.check.line import ALL, ON_KAFKA, Line, Part, State, line_of
from bridge.admin.check.offline import CLIENT_ID, local_lines
from bridge.admin.text import counted
from bridge.admin.waits import Work, calling_after
from bridge.clock import Deadline, clock_difference, unix_ms
from bridge.errors import SettingsError, Stopped, Unreachable
from bridge.http.listening import listen
from bridge.kafka.brokers import BrokerLimits, read_broker_limits, try_transactions
from bridge.kafka.config import client_config
from bridge.kafka.connection_failures import ConnectionFailure, NotReached
from bridge.kafka.group import describe_group, members_metadata_of
from bridge.kafka.topic_admin import TopicAdmin
from bridge.kafka.topics import plan
from bridge.mix.listing import DiscoveryRules, discovered
from bridge.mix.sessions import ServerUnavailable, SessionsApi
from bridge.settings import Loaded, ServerSettings, Settings
from bridge.settings.naming import group_of, trial_transactional_id

_TIMEOUT = 5.0
"""Seconds for one request."""
_DEADLINE = 15.0
"""Seconds for all checks: Kafka needs up to three requests one after the other, and servers are checked meanwhile."""


class MixServer(Protocol):
    """A server of the settings, as the daemon reaches it."""

    name: str
    settings: ServerSettings
    tls: ssl.SSLContext | None

    def headers(self) -> Mapping[str, str]:
        """Raises ``OSError`` when a token file cannot be read."""

    def api(self, note: Callable[[str], None], /) -> SessionsApi:
        """Its REST API; ``note`` is called with entries of a list that were skipped."""


def check_all(loaded: Loaded, servers: Sequence[MixServer], parts: AbstractSet[Part] = ALL) -> tuple[Line, ...]:
    """Return all lines of these parts, in the order of the settings. Raises ``SettingsError`` as a start does."""
    settings, running = loaded.settings, dict[str, Work[Line]]()

    def start(subject: str, check: Callable[[], Iterable[Line]]) -> None:
        running[subject] = Work(f"check {subject}", check)

    if not parts.isdisjoint(ON_KAFKA):
        start("kafka", lambda: _kafka(settings, parts))
    for each in servers if Part.SERVERS in parts else ():
        start(f"server {each.name}", partial(_server, each, settings))
    if Part.HTTP in parts:
        start("http", lambda: [_http(settings)])
    end = Deadline.after(_DEADLINE)
    return (*local_lines(loaded), *(line for each in running.items() for line in _lines_until(end, *each)))


def _lines_until(end: Deadline, subject: str, check: Work[Line]) -> Sequence[Line]:
    lines = check.join(end)
    return lines if check.has_ended else [*lines, checks.no_answer(subject, _DEADLINE)]


def _kafka(settings: Settings, parts: AbstractSet[Part]) -> Iterator[Line]:
    config = client_config(settings.kafka, CLIENT_ID)
    admin, planned = TopicAdmin(config, _TIMEOUT), plan(settings)
    unreachable: tuple[str, ...] = ()
    try:
        brokers = counted(admin.brokers(), "broker")
        yield Line("kafka", State.OK, f"{settings.kafka.bootstrap_servers} answers, a cluster of {brokers}")
        unreachable = admin.unreachable_brokers()
        for detail in unreachable:
            yield checks.kafka_unreachable(NotReached(ConnectionFailure.ADVERTISED, detail))
        found = admin.describe(planned, operations=True)
        missing = [each for each in planned if each.name in found and found[each.name] is None]
        objections = admin.objections(missing) if settings.topics.create else {}
    except Unreachable as error:
        if not unreachable:  # otherwise the reason is known
            yield checks.kafka_unreachable(error)
        return
    yield from (checks.topic_line(each, found, objections, settings) for each in planned)
    checkpoints = found.get(settings.topics.checkpoints)
    limits = read_broker_limits(config, _TIMEOUT)
    if Part.GROUP in parts:
        yield from _group(settings, config, checkpoints.partitions if checkpoints else None, limits)
    if Part.TRANSACTIONS in parts and settings.delivery.guarantee == "exactly_once":
        try:
            try_transactions(config, trial_transactional_id(settings.namespace), _TIMEOUT)
            yield checks.transactions_allowed(settings)
        except (SettingsError, Unreachable) as error:
            yield checks.transactions_refused(error, limits)


def _group(settings: Settings, config: Mapping[str, Any], shards: int | None, limits: BrokerLimits) -> Iterator[Line]:
    group, topic = group_of(settings.namespace), settings.topics.checkpoints
    try:
        found = describe_group(config, group, topic, _TIMEOUT)
        yield checks.group_line(settings, found, limits)
        if found.members and shards is not None:
            metadata = members_metadata_of(config, group, topic, shards, _TIMEOUT)
            line = checks.replicas_line(settings, found.members, metadata)
            yield from [line] if line is not None else []
    except (SettingsError, Unreachable) as error:
        yield checks.refused(f"group {group}", error)


def _server(server: MixServer, settings: Settings) -> Iterator[Line]:
    """List the sessions where discovery does. No stream is opened: another reader may disturb a run."""
    if not server.settings.discover:
        yield _connect(server, settings)
        return
    skipped: list[str] = []
    api = server.api(skipped.append)
    yield _list_sessions(server, settings, api, skipped)
    if (problem := clock_difference(api.clock_ahead or 0.0, f"server {server.name}")) is not None:
        hint = "synchronise both (NTP): Kafka refuses records that are message.timestamp.after.max.ms ahead (1 h)"
        yield Line("clock", State.WARNING, problem, hint)


def _list_sessions(server: MixServer, settings: Settings, api: SessionsApi, skipped: Sequence[str]) -> Line:
    rules = DiscoveryRules(server.settings.include_subagents, server.settings.created_within)
    try:
        with calling_after(_TIMEOUT, api.stop):  # the server's own time-outs are for a daemon, and longer
            listing = api.list(include_subagents=rules.include_subagents)
    except ServerUnavailable as error:
        return checks.server_unreachable(server.name, settings, error.detail, error)
    except Stopped:
        return checks.no_answer(f"server {server.name}", _TIMEOUT)
    chosen = discovered(listing, rules, unix_ms())
    line = checks.server_answers(server.name, settings, len(listing), len(chosen), next(iter(skipped), None))
    if line.state is not State.OK or (problem := _health_problem(server)) is None:
        return line
    url = server.settings.url.public
    return Line(line.subject, State.WARNING, f"{url} lists sessions, but {problem}", "check its log")


def _health_problem(server: MixServer) -> str | None:
    api = server.api(lambda _: None)
    try:
        with calling_after(_TIMEOUT, api.stop):
            api.health()
    except ServerUnavailable as error:
        return error.detail
    except Stopped:
        return f"GET /health: no answer within {_TIMEOUT:g} s"
    return None


def _connect(server: MixServer, settings: Settings) -> Line:
    """Open a connection, with TLS where the server uses it, and send no request."""
    proxy = server.settings.proxy
    address = urlsplit((proxy or server.settings.url).get_secret_value())
    port = address.port or {"http": 80, "https": 443}[address.scheme]
    try:
        server.headers()  # a token file that cannot be read
        with socket.create_connection((address.hostname or "", port), timeout=_TIMEOUT) as connection:
            if server.tls is not None and not proxy:
                server.tls.wrap_socket(connection, server_hostname=address.hostname).close()
    except OSError as error:
        no_time = "no connection in time" if isinstance(error, TimeoutError) else str(error)
        reason = getattr(error, "verify_message", None) or error.strerror or no_time
        return checks.server_unreachable(server.name, settings, reason, error)
    return checks.server_connects(server.name, settings)


def _http(settings: Settings) -> Line:
    host, port = settings.http.host, settings.http.port
    if port is None:
        return Line("http", State.OK, "disabled")
    try:
        for each in listen(host, port):
            each.close()
    except SettingsError as error:
        return line_of("http", error.mistakes[0], error.mistakes[0].message)
    return Line("http", State.OK, f"{host} has a free port" if port == 0 else f"port {port} of {host} is free")
