"""Runs the checks of ``mix-bridge check`` at the same time, within seconds, without changing anything."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

from bridge.admin.check import lines as checks
from bridge.admin.check.lines import Line, State
from bridge.admin.check.replica_checkup import check_replicas
from bridge.clock import monotonic, unix_ms
from bridge.errors import SettingsError, Stopped, Unreachable
from bridge.http.listening import listen
from bridge.kafka.config import client_config
from bridge.kafka.connection_failures import ConnectionFailure, NotReached
from bridge.kafka.topic_admin import TopicAdmin
from bridge.kafka.topics import plan
from bridge.mix.session_filter import DiscoveryRules, discovered
from bridge.mix.sessions import ServerUnavailable, SessionsApi
from bridge.settings import ServerSettings, Settings

_TIMEOUT = 5.0
"""Seconds for one request."""
_DEADLINE = 15.0
"""Seconds for all checks: Kafka needs up to three requests one after the other, and servers are checked meanwhile."""


T = TypeVar("T")


class MixServer(Protocol):
    """A server of the settings."""

    @property
    def name(self) -> str:
        """Its name in the settings."""
        ...

    @property
    def settings(self) -> ServerSettings:
        """Its settings."""
        ...

    @property
    def tls(self) -> ssl.SSLContext | None:
        """The TLS context; None over plain HTTP."""
        ...

    def headers(self) -> Mapping[str, str]:
        """Return the request headers. Raises ``OSError`` when a token file cannot be read."""
        ...

    def api(self, report: Callable[[str], None]) -> SessionsApi:
        """Return its REST side; ``report`` is called with entries that had to be skipped."""
        ...


class _Check(NamedTuple):
    subject: str
    run: Callable[[], Iterable[Line]]


def check_all(settings: Settings, servers: Sequence[MixServer]) -> tuple[Line, ...]:
    """Return all lines, in the order of the settings. Raises ``SettingsError`` as a start does."""
    wanted = [_Check("kafka", lambda: _kafka(settings))]
    wanted += [_Check(f"server {each.name}", _server_check(each, settings)) for each in servers]
    wanted.append(_Check("http", lambda: [_http(settings)]))
    running = [_Running(each) for each in wanted]
    end = monotonic() + _DEADLINE
    return (checks.settings_line(settings), *(line for each in running for line in each.lines(end)))


class _Running:
    """One check on its own thread, which is abandoned if it does not end."""

    def __init__(self, check: _Check) -> None:
        self._check = check
        self._lines: list[Line] = []
        self._has_ended = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"check {check.subject}", daemon=True)
        self._thread.start()

    def lines(self, end: float) -> Sequence[Line]:
        """Wait until ``end`` and return the lines so far; raises what the check raised."""
        self._thread.join(max(0.0, end - monotonic()))
        if self._error is not None:
            raise self._error
        return self._lines if self._has_ended else [*self._lines, checks.no_answer(self._check.subject, _DEADLINE)]

    def _run(self) -> None:
        try:
            for line in self._check.run():
                self._lines.append(line)
            self._has_ended = True
        except Exception as error:  # noqa: BLE001 - raised again by ``lines``
            self._error = error


def _kafka(settings: Settings) -> Iterator[Line]:
    config = client_config(settings.kafka, "mix-bridge-check")
    admin, planned = TopicAdmin(config, _TIMEOUT), plan(settings)
    try:
        yield checks.kafka_answers(settings, admin.brokers())
        found = admin.describe(planned, operations=True)
        missing = [each for each in planned if each.name in found and found[each.name] is None]
        objections = admin.objections(missing) if settings.topics.create else {}
    except NotReached as error:
        yield checks.kafka_unreachable(error.connection_failure, error.detail)
        return
    except Unreachable as error:
        yield checks.kafka_unreachable(ConnectionFailure.OTHER, str(error))
        return
    yield from (checks.topic_line(each, found, objections, settings) for each in planned)
    checkpoints = found.get(settings.topics.checkpoints)
    yield from check_replicas(settings, config, checkpoints.partitions if checkpoints else None, _TIMEOUT)


def _server_check(server: MixServer, settings: Settings) -> Callable[[], Iterable[Line]]:
    """List the sessions where discovery does. No stream is opened: another reader may disturb a run."""
    check = _list_sessions if server.settings.discover else _connect
    return lambda: [check(server, settings)]


def _list_sessions(server: MixServer, settings: Settings) -> Line:
    skipped: list[str] = []
    api = server.api(skipped.append)
    rules = DiscoveryRules(server.settings.include_subagents, server.settings.created_within)
    try:
        listing = _within_timeout(api, lambda: api.list(include_subagents=rules.include_subagents))
    except ServerUnavailable as error:
        return checks.server_unreachable(server.name, settings, error.detail, error)
    except Stopped:
        return checks.no_answer(f"server {server.name}", _TIMEOUT)
    chosen = discovered(listing, rules, unix_ms())
    line = checks.server_answers(server.name, settings, len(listing), len(chosen), next(iter(skipped), None))
    return line if line.state is not State.OK else _check_health(server, settings) or line


def _check_health(server: MixServer, settings: Settings) -> Line | None:
    api = server.api(lambda _: None)
    try:
        _within_timeout(api, api.health)
    except ServerUnavailable as error:
        return checks.server_unhealthy(server.name, settings, error.detail)
    except Stopped:
        return checks.server_unhealthy(server.name, settings, f"GET /health: no answer within {_TIMEOUT:g} s")
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
        listen(host, port).close()
    except SettingsError as error:
        return checks.line_of("http", error.mistakes[0], error.mistakes[0].message)
    return Line("http", State.OK, f"{host} has a free port" if port == 0 else f"port {port} of {host} is free")
