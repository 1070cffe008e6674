"""Runs the checks of ``mix-bridge check`` at the same time, within seconds, without changing anything."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from bridge.admin.check import lines as checks
from bridge.admin.check.line import Line, State, line_of
from bridge.admin.check.offline import files_lines, settings_lines
from bridge.admin.check.parts import ALL, ON_KAFKA, Part
from bridge.admin.text import counted
from bridge.clock import clock_difference, monotonic, unix_ms
from bridge.errors import SettingsError, Stopped, Unreachable
from bridge.http.listening import listen
from bridge.kafka.broker_limits import BrokerLimits, read_broker_limits, try_transactions
from bridge.kafka.config import client_config
from bridge.kafka.group import describe_group, members_metadata_of
from bridge.kafka.topic_admin import TopicAdmin
from bridge.kafka.topics import plan
from bridge.mix.session_filter import DiscoveryRules, discovered
from bridge.mix.sessions import ServerUnavailable, SessionsApi
from bridge.settings import Loaded, ServerSettings, Settings
from bridge.settings.naming import group_of, trial_transactional_id

_TIMEOUT = 5.0
"""Seconds for one request."""
_DEADLINE = 15.0
"""Seconds for all checks: Kafka needs up to three requests one after the other, and servers are checked meanwhile."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MixServer:
    """How to reach a server of the settings."""

    name: str
    settings: ServerSettings
    tls: ssl.SSLContext | None
    headers: Callable[[], Mapping[str, str]]
    """Raises ``OSError`` when a token file cannot be read."""
    api: Callable[[Callable[[str], None]], SessionsApi]
    """Its REST API; the argument is called with entries of a list that were skipped."""


def check_all(loaded: Loaded, servers: Sequence[MixServer], parts: AbstractSet[Part] = ALL) -> tuple[Line, ...]:
    """Return all lines of these parts, in the order of the settings. Raises ``SettingsError`` as a start does."""
    settings, running = loaded.settings, list[_Running]()
    if not parts.isdisjoint(ON_KAFKA):
        running.append(_Running("kafka", lambda: _kafka(settings, parts)))
    if Part.SERVERS in parts:
        running += [_Running(f"server {each.name}", partial(_server, each, settings)) for each in servers]
    if Part.HTTP in parts:
        running.append(_Running("http", lambda: [_http(settings)]))
    end = monotonic() + _DEADLINE
    return (*settings_lines(settings), *files_lines(loaded), *(line for each in running for line in each.lines(end)))


class _Running:
    """One check on its own thread, which is abandoned if it does not end."""

    def __init__(self, subject: str, check: Callable[[], Iterable[Line]]) -> None:
        self._subject = subject
        self._check = check
        self._lines: list[Line] = []
        self._has_ended = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"check {subject}", daemon=True)
        self._thread.start()

    def lines(self, end: float) -> Sequence[Line]:
        """Wait until ``end`` and return the lines so far; raises what the check raised."""
        self._thread.join(max(0.0, end - monotonic()))
        if self._error is not None:
            raise self._error
        return self._lines if self._has_ended else [*self._lines, checks.no_answer(self._subject, _DEADLINE)]

    def _run(self) -> None:
        try:
            for line in self._check():
                self._lines.append(line)
            self._has_ended = True
        except Exception as error:  # noqa: BLE001 - raised again by ``lines``
            self._error = error


def _kafka(settings: Settings, parts: AbstractSet[Part]) -> Iterator[Line]:
    config = client_config(settings.kafka, "mix-bridge-check")
    admin, planned = TopicAdmin(config, _TIMEOUT), plan(settings)
    unreachable: tuple[str, ...] = ()
    try:
        brokers = counted(admin.brokers(), "broker")
        yield Line("kafka", State.OK, f"{settings.kafka.bootstrap_servers} answers, a cluster of {brokers}")
        unreachable = admin.unreachable_brokers()
        yield from map(checks.broker_unreachable, unreachable)
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
        yield _transactions(settings, config, limits)


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


def _transactions(settings: Settings, config: Mapping[str, Any], limits: BrokerLimits) -> Line:
    try:
        try_transactions(config, trial_transactional_id(settings.namespace), _TIMEOUT)
    except (SettingsError, Unreachable) as error:
        return checks.transactions_refused(error, limits)
    return checks.transactions_allowed(settings)


def _server(server: MixServer, settings: Settings) -> Iterator[Line]:
    """List the sessions where discovery does. No stream is opened: another reader may disturb a run."""
    if not server.settings.discover:
        yield _connect(server, settings)
        return
    skipped: list[str] = []
    api = server.api(skipped.append)
    yield _list_sessions(server, settings, api, skipped)
    if (problem := clock_difference(api.clock_ahead or 0.0, f"server {server.name}")) is not None:
        yield checks.clocks_differ(problem)


def _list_sessions(server: MixServer, settings: Settings, api: SessionsApi, skipped: Sequence[str]) -> Line:
    rules = DiscoveryRules(server.settings.include_subagents, server.settings.created_within)
    try:
        listing = _within_timeout(api, lambda: api.list(include_subagents=rules.include_subagents))
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
        _within_timeout(api, api.health)
    except ServerUnavailable as error:
        return error.detail
    except Stopped:
        return f"GET /health: no answer within {_TIMEOUT:g} s"
    return None


def _within_timeout(api: SessionsApi, ask: Callable[[], T]) -> T:
    """Raise ``Stopped`` when the answer takes too long: the server's own time-outs are for a daemon, and longer."""
    timer = threading.Timer(_TIMEOUT, api.stop)
    timer.daemon = True
    timer.start()
    try:
        return ask()
    finally:
        timer.cancel()


def _connect(server: MixServer, settings: Settings) -> Line:
    """Open a connection, with TLS where the server uses it, and send no request."""
    try:
        server.headers()  # a token file that cannot be read
        _open_and_close(server)
    except OSError as error:
        return checks.server_unreachable(server.name, settings, _reason(error), error)
    return checks.server_connects(server.name, settings)


def _open_and_close(server: MixServer) -> None:
    proxy = server.settings.proxy
    parts = urlsplit((proxy or server.settings.url).get_secret_value())
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    with socket.create_connection((parts.hostname or "", port), timeout=_TIMEOUT) as connection:
        if server.tls is not None and not proxy:
            server.tls.wrap_socket(connection, server_hostname=parts.hostname).close()


def _reason(error: OSError) -> str:
    verify = getattr(error, "verify_message", None)
    return verify or error.strerror or ("no connection in time" if isinstance(error, TimeoutError) else str(error))


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
