"""Looks at everything a start needs, for ``mix-bridge check``: at the same time, for seconds, and changing nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from bridge.admin.check import lines as checks
from bridge.admin.check.lines import Line, State
from bridge.admin.check.replica_checkup import check_replicas
from bridge.admin.check.topics import Survey
from bridge.clock import monotonic, unix_ms
from bridge.daemon.selection import DiscoveryRules, discovered
from bridge.daemon.source import Source, tls_context
from bridge.errors import SettingsError, Stopped, Unreachable
from bridge.kafka.config import client_config
from bridge.kafka.connection_failures import ConnectionFailure, NotReached
from bridge.kafka.topics import plan
from bridge.mix.sessions import ServerUnavailable, SessionsApi
from bridge.observe.api import try_listening
from bridge.settings import ServerSettings, Settings

_PATIENCE = 5.0
"""Seconds that one attempt may take."""
_DEADLINE = 15.0
"""Seconds for all: Kafka's checks are three attempts one after the other, the servers' go on beside them."""


T = TypeVar("T")


class _Check(NamedTuple):
    subject: str
    look: Callable[[], Iterable[Line]]


def check_all(settings: Settings) -> tuple[Line, ...]:
    """Every line, in the order of the settings. Raises ``SettingsError`` for what a start would refuse as settings."""
    sources = {name: Source(name, settings) for name in settings.servers}
    wanted = [_Check("kafka", lambda: _kafka(settings))]
    wanted += [_Check(f"server {name}", _server_check(source, settings)) for name, source in sources.items()]
    wanted.append(_Check("http", lambda: [_http(settings)]))
    running = [_Running(each) for each in wanted]
    end = monotonic() + _DEADLINE
    return (checks.settings_line(settings), *(line for each in running for line in each.lines(end)))


class _Running:
    """One check on a thread of its own, which is abandoned when it does not end."""

    def __init__(self, check: _Check) -> None:
        self._check = check
        self._lines: list[Line] = []
        self._has_ended = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"check {check.subject}", daemon=True)
        self._thread.start()

    def lines(self, end: float) -> Sequence[Line]:
        """What it found, as far as it came; raises what it raised."""
        self._thread.join(max(0.0, end - monotonic()))
        if self._error is not None:
            raise self._error
        return self._lines if self._has_ended else [*self._lines, checks.no_answer(self._check.subject, _DEADLINE)]

    def _run(self) -> None:
        try:
            for line in self._check.look():
                self._lines.append(line)
            self._has_ended = True
        except Exception as error:  # noqa: BLE001 - raised again by the thread that asks
            self._error = error


def _kafka(settings: Settings) -> Iterator[Line]:
    config = client_config(settings.kafka, "mix-bridge-check")
    survey = Survey(config, _PATIENCE)
    planned = plan(settings)
    try:
        yield checks.kafka_answers(settings, survey.brokers())
        seen = survey.topics(planned, create=settings.topics.create)
    except NotReached as error:
        yield checks.kafka_away(error.connection_failure, error.detail)
        return
    except Unreachable as error:
        yield checks.kafka_away(ConnectionFailure.OTHER, str(error))
        return
    yield from (checks.topic_line(each, seen[each.name], settings) for each in planned)
    found = seen[settings.topics.checkpoints].found
    yield from check_replicas(settings, config, found.partitions if found else None, _PATIENCE)


def _server_check(source: Source, settings: Settings) -> Callable[[], Iterable[Line]]:
    """One that is to list its sessions is asked for them. No stream is touched: a reader may disturb a run."""
    ask = _list_sessions if source.settings.discover else _connect
    return lambda: [ask(source, settings)]


def _list_sessions(source: Source, settings: Settings) -> Line:
    flaws: list[str] = []
    api = source.api(flaws.append)
    rules = DiscoveryRules(source.settings.include_subagents, source.settings.created_within)
    try:
        listing = _within(api, lambda: api.list(include_subagents=rules.include_subagents))
    except ServerUnavailable as error:
        return checks.server_away(source.name, settings, error.detail, error)
    except Stopped:
        return checks.no_answer(f"server {source.name}", _PATIENCE)
    found = checks.server_answers(
        source.name, settings, len(listing), len(discovered(listing, rules, unix_ms())), next(iter(flaws), None)
    )
    return found if found.state is not State.OK else _ask_for_health(source, settings) or found


def _ask_for_health(source: Source, settings: Settings) -> Line | None:
    api = source.api(lambda _: None)
    try:
        _within(api, api.health)
    except ServerUnavailable as error:
        return checks.server_unwell(source.name, settings, error)
    except Stopped as error:
        late = ServerUnavailable(f"GET /health: no answer within {_PATIENCE:g} s")
        late.__cause__ = error
        return checks.server_unwell(source.name, settings, late)
    return None


def _within(api: SessionsApi, ask: Callable[[], T]) -> T:
    """Ask; ``Stopped`` when the answer takes too long: the server's own time-outs are for a daemon that has time."""
    alarm = threading.Timer(_PATIENCE, api.stop)
    alarm.daemon = True
    alarm.start()
    try:
        return ask()
    finally:
        alarm.cancel()


def _connect(source: Source, settings: Settings) -> Line:
    """A connection, with TLS where it is spoken, and nothing said on it."""
    try:
        source.headers()  # a token file that cannot be read
        _open_and_close(source.name, source.settings)
    except OSError as error:
        return checks.server_away(source.name, settings, _words(error), error)
    return checks.server_connects(source.name, settings)


def _open_and_close(name: str, server: ServerSettings) -> None:
    parts = urlsplit((server.proxy or server.url).get_secret_value())
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    with socket.create_connection((parts.hostname or "", port), timeout=_PATIENCE) as connection:
        context = None if server.proxy else tls_context(name, server)
        if context is not None:
            context.wrap_socket(connection, server_hostname=parts.hostname).close()


def _words(error: OSError) -> str:
    verify = getattr(error, "verify_message", None)
    return verify or error.strerror or ("no connection in time" if isinstance(error, TimeoutError) else str(error))


def _http(settings: Settings) -> Line:
    host, port = settings.http.host, settings.http.port
    if port is None:
        return Line("http", State.OK, "switched off")
    try:
        try_listening(host, port)
    except SettingsError as error:
        return checks.port_taken(error.mistakes[0])
    return Line("http", State.OK, f"{host} has a free port" if port == 0 else f"port {port} of {host} is free")
