"""Applies changed settings, secrets and certificates to the running parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from structlog.stdlib import get_logger

from bridge.clock import monotonic, unix_ms
from bridge.daemon.source import Source, tls_context
from bridge.errors import Mistake, SettingsError
from bridge.kafka.client_properties import ClientProperties
from bridge.observe.log_levels import LogLevels
from bridge.observe.tokens import Tokens
from bridge.settings.files import WARN_DAYS, expiries, tls_mistakes
from bridge.settings.loading import Loaded
from bridge.settings.reload import decide, read_again
from bridge.settings.tls import ServerTls, server_context
from bridge.settings.values import plain, secret_text

log = get_logger("bridge.reload")

LOOK: Final = 30.0
"""Seconds between two looks at the files of secrets and certificates."""

_WARN_AGAIN: Final = 86_400.0

Commit = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Reloading:
    """Where settings come from, and who must know the secrets that lines of the log must not contain."""

    loaded: Loaded
    load: Callable[[], Loaded]
    """Reads all sources again. Raises ``SettingsError``."""
    mask: Callable[[Loaded], None]

    @classmethod
    def never(cls, loaded: Loaded) -> Reloading:
        """Settings that do not change, as in the demo."""
        return cls(loaded, lambda: loaded, lambda _: None)


@dataclass(frozen=True, slots=True)
class Parts:
    """The running parts that follow the settings."""

    levels: LogLevels
    sources: Mapping[str, Source]
    clients: ClientProperties
    tokens: Tokens | None
    tls: ServerTls | None
    renew_clients: Callable[[], None]
    """Replaces the Kafka clients that exist by now."""


class Reloader:
    """Thread rule: the main thread."""

    def __init__(self, reloading: Reloading, parts: Parts, now: Callable[[], float] = monotonic) -> None:
        self._load = reloading.load
        self._mask = reloading.mask
        self._loaded = reloading.loaded
        self._parts = parts
        self._now = now
        self._looked_at = now()
        self._reported: frozenset[Mistake] = frozenset()
        self._waiting: frozenset[tuple[str, ...]] = frozenset()
        self.certificates = expiries(reloading.loaded.contents)
        """The Unix times at which the certificates expire, by the key of their file (any thread)."""
        self._warned_at = -inf

    def reload(self) -> None:
        """Read all settings again. Wrong settings change nothing, and each mistake is one error in the log."""
        self._looked_at = self._now()
        try:
            needs_restart = self._apply(self._load())
        except SettingsError as error:
            for mistake in error.mistakes:
                log.error("settings not reloaded, nothing was changed", setting=mistake.key, error=mistake.message)  # noqa: TRY400 - the message says it all
        except Exception:  # a bug here must not end the process
            log.exception("settings not reloaded because of a bug; please report it")
        else:
            for key in needs_restart:
                log.warning("a changed setting needs a restart: its former value stays in use", setting=key)

    def turn(self) -> None:
        if self._now() - self._looked_at >= LOOK:
            self._looked_at = self._now()
            self.look()
        self._warn_of_expiry()

    def look(self) -> None:
        """Use the files as they are now; a broken one keeps its former contents and is reported once."""
        try:
            renewed = read_again(self._loaded, self._waiting)
            self._report(renewed.mistakes)
            self._apply(renewed.loaded, is_look=True)
        except SettingsError as error:
            self._report(error.mistakes)
        except Exception:
            log.exception("the files of secrets cannot be looked at because of a bug; please report it")

    def _warn_of_expiry(self) -> None:
        """Once a day, and two weeks before: enough to get a new certificate."""
        if self._now() - self._warned_at < _WARN_AGAIN:
            return
        self._warned_at = self._now()
        for key, expires in self.certificates.items():
            days = (expires - unix_ms() / 1000) / 86_400
            if days < WARN_DAYS:
                log.warning("a certificate expires soon, or has expired", setting=key, days=round(days, 1))

    def _report(self, mistakes: Sequence[Mistake]) -> None:
        for mistake in mistakes:
            if mistake not in self._reported:
                log.error(
                    "a changed file cannot be used: its former contents stay in use",
                    setting=mistake.key, error=mistake.message,
                )  # fmt: skip
        self._reported = frozenset(mistakes)

    def _apply(self, new: Loaded, *, is_look: bool = False) -> tuple[str, ...]:
        """Prepare everything that can fail, then change everything. Returns the keys that need a restart."""
        found, old = decide(self._loaded, new), self._loaded
        if not is_look:  # a look compares no identities; only a reload can find that one waits, or waits no more
            self._wait(found.waiting)
        commits = [*_of_log(self._parts, found.loaded), *_of_servers(self._parts, old, found.loaded)]
        commits += [*_of_kafka(self._parts, old, found.loaded), *_of_http(self._parts, old, found.loaded)]
        self._mask(found.loaded)  # before anything could log them
        for commit in commits:
            commit()
        self._loaded = found.loaded
        self.certificates = expiries(found.loaded.contents)
        if found.applied or not is_look:
            log.info("settings reloaded", applied=list(found.applied), needs_restart=list(found.needs_restart))
        return found.needs_restart

    def _wait(self, waiting: frozenset[tuple[str, ...]]) -> None:
        """Leave the credentials of these tables as they are, until a restart or a reload with the former identity."""
        self._waiting = waiting
        for name, source in self._parts.sources.items():
            source.held_token = _held_token(self._loaded, name) if ("servers", name) in waiting else None


def _held_token(loaded: Loaded, name: str) -> str | None:
    """The server's token as its file was when it last belonged to the server."""
    file, content = loaded.settings.servers[name].token_file, loaded.contents.get(("servers", name, "token_file"))
    return None if file is None or content is None else secret_text(file, content)


def _of_log(parts: Parts, new: Loaded) -> Iterator[Commit]:
    level = new.settings.log.level
    if level != parts.levels.level:
        yield lambda: parts.levels.follow_settings(level)


def _of_servers(parts: Parts, old: Loaded, new: Loaded) -> Iterator[Commit]:
    for name, source in parts.sources.items():
        before, server = old.settings.servers[name], new.settings.servers[name]
        changed = _changed(("servers", name), old, new)
        if not changed:
            continue
        has_new_files = any(key.endswith("_file") and key != "token_file" for key in changed)
        tls = tls_context(name, server) if has_new_files else source.tls
        has_new_credentials = bool(changed & {"token", "token_file"}) or server.headers != before.headers
        yield lambda source=source, server=server, tls=tls, changes=has_new_credentials: source.follow(  # type: ignore[misc]  # mypy infers no type for such a lambda
            server, tls, has_new_credentials=changes
        )


def _of_kafka(parts: Parts, old: Loaded, new: Loaded) -> Iterator[Commit]:
    if not _changed(("kafka",), old, new):
        return
    kafka, contents = new.settings.kafka, kafka_contents(new)
    if mistakes := tls_mistakes(new.settings, ("kafka",)):  # they name the setting; Kafka's client does not
        raise SettingsError(mistakes)
    parts.clients.check(kafka, contents)

    def commit() -> None:
        if parts.clients.replace(kafka, contents):
            parts.renew_clients()

    yield commit


def _of_http(parts: Parts, old: Loaded, new: Loaded) -> Iterator[Commit]:
    http, tls, tokens = new.settings.http, parts.tls, parts.tokens
    changed = _changed(("http",), old, new)
    if tokens is not None and changed & {"token", "token_file"}:
        token = plain(http.token)
        yield lambda: tokens.replace(token)
    if tls is not None and http.cert_file is not None and changed & {"cert_file", "key_file"}:
        context = server_context(http.cert_file, http.key_file)
        yield lambda: setattr(tls, "present", context)


def kafka_contents(loaded: Loaded) -> dict[str, bytes]:
    """The files of Kafka's clients by the name of their setting."""
    return {path[-1]: content for path, content in loaded.contents.items() if path[0] == "kafka"}


def _changed(table: tuple[str, ...], old: Loaded, new: Loaded) -> set[str]:
    before, after = _group(table, old), _group(table, new)
    keys = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    paths = old.contents.keys() | new.contents.keys()
    files = {path[-1] for path in paths if old.contents.get(path) != new.contents.get(path) and path[:-1] == table}
    return keys | files


def _group(table: tuple[str, ...], loaded: Loaded) -> dict[str, object]:
    settings = loaded.settings
    return dict(settings.servers[table[1]] if table[0] == "servers" else getattr(settings, table[0]))
