"""Rules between keys: each value is valid alone, but the combination cannot work. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pydantic import SecretStr

from bridge.errors import Mistake
from bridge.settings.catalogue import Path, dotted, place_at, values
from bridge.settings.checks import TOPIC_LENGTH
from bridge.settings.describe import shown
from bridge.settings.mistakes import quoted
from bridge.settings.model import KafkaSettings, Settings
from bridge.settings.naming import TRANSACTION_TIMEOUT_MS
from bridge.settings.properties import refusal
from bridge.settings.quantities import format_duration
from bridge.settings.server import ServerSettings
from bridge.settings.values import Group

_SASL = {"sasl_plaintext", "sasl_ssl"}
_TLS = {"ssl", "sasl_ssl"}
_NOT_FOR_EVENTS = ("dead_letters", "checkpoints", "lifecycle")
_REQUEST_TIMEOUT_MS = 10_000
"""Minimum timeout of one request of a transactional producer. After a shorter timeout the request is sent again while
the first may still be in progress, and a duplicate commit may end a later transaction."""


class Finding(NamedTuple):
    """A combination that cannot work: the key to change, the problem, and the other keys of the combination.

    The message continues a sentence that begins with the key's value, if it may be shown.
    """

    key: str
    message: str
    others: tuple[str, ...] = ()


def broken_rules(settings: Settings, wrong: set[Path]) -> list[Mistake]:
    """Every broken rule. A rule about a key with an invalid value is skipped: the tree has its default instead."""
    findings = [finding for rule in _RULES for finding in rule(settings)]
    servers = [(f"servers.{name}", server) for name, server in settings.servers.items()]
    findings += [finding for server in servers for rule in _SERVER_RULES for finding in rule(*server)]
    texts = {dotted(path): _text(path, value) for path, value in values(settings)} if findings else {}
    return [
        Mistake(key, texts.get(key, "") + message)
        for key, message, others in findings
        if not any(_is_in(dotted(bad), each) for each in (key, *others) for bad in wrong)
    ]


def _text(path: Path, value: Any) -> str:  # noqa: ANN401 - any value of the tree
    """The value and a space; nothing for a secret, or without a value."""
    if isinstance(value, SecretStr) or value in {None, "", ()}:
        return ""
    return f"{quoted(shown(place_at(path).annotation, value))} "


def needed_to_run(settings: Settings, reported: Sequence[str]) -> Iterator[Mistake]:
    """The keys that a start requires and that are missing, except `reported` ones, which have a mistake already."""
    needed = {
        "servers": (
            settings.servers,
            "is empty; allowed: at least one servers.<name>.url, or --server URL",
        ),
        "kafka.bootstrap_servers": (settings.kafka.bootstrap_servers, "is missing; allowed: a list of host:port"),
    }
    for key, (value, message) in needed.items():
        if not value and not any(_is_in(key, other) or _is_in(other, key) for other in reported):
            yield Mistake(key, message)


def _is_in(key: str, table: str) -> bool:
    """Whether the key is the table, or in it."""
    return f"{key}.".startswith(f"{table}.")


def _back_off(table: str, server: ServerSettings) -> Iterator[Finding]:
    high = f"{table}.reconnect_max"
    if server.reconnect_min > server.reconnect_max:
        most = format_duration(server.reconnect_max)
        yield Finding(f"{table}.reconnect_min", f"is above {high} ({most}); allowed: at most this value", (high,))


def _something_to_bridge(table: str, server: ServerSettings) -> Iterator[Finding]:
    discover = f"{table}.discover"
    if not server.sessions and not server.discover:
        yield Finding(f"{table}.sessions", f"is empty; allowed: session ids, or {discover} = true", (discover,))


def _one_stream(table: str, server: ServerSettings) -> Iterator[Finding]:
    sessions, discover = f"{table}.sessions", f"{table}.discover"
    if "{session}" not in server.stream_path and (server.discover or len(server.sessions) != 1):
        yield Finding(
            f"{table}.stream_path",
            "has no {session}, so all sessions would read one stream; allowed: a path with it, or one id in"
            f" {sessions} and {discover} = false",
            (sessions, discover),
        )


def _one_credential(table: str, server: ServerSettings) -> Iterator[Finding]:
    present = {
        "url": server.url.has_credentials,
        "token": server.token is not None,
        "token_file": server.token_file is not None and server.token is None,
        "headers.authorization": "authorization" in server.headers,
    }
    first, *others = [f"{table}.{key}" for key, is_present in present.items() if is_present] or [""]
    for key in others:
        message = f"conflicts with {first}, which also sets the Authorization header; allowed: one of the two"
        yield Finding(key, message, (first,))


def _server_tls(table: str, server: ServerSettings) -> Iterator[Finding]:
    url = f"{table}.url"
    for name in ("ca_file", "client_cert_file", "client_key_file"):
        if getattr(server, name) is not None and server.url.scheme == "http":
            yield Finding(f"{table}.{name}", f"requires TLS; allowed: with an https:// {url}", (url,))
    # A certificate's file may contain the key, too
    yield from _needs(table, "client_key_file", "client_cert_file", server)


def _needs(table: str, name: str, other: str, group: Group) -> Iterator[Finding]:
    if getattr(group, name) and not getattr(group, other):
        yield Finding(f"{table}.{name}", f"needs {table}.{other}; allowed: both or none", (f"{table}.{other}",))


def _sasl(settings: Settings) -> Iterator[Finding]:
    kafka, protocol = settings.kafka, "kafka.security_protocol"
    if kafka.security_protocol in _SASL:
        return
    given = [name for name in KafkaSettings.model_fields if name.startswith("sasl_") and getattr(kafka, name)]
    given += [f"properties.{name}" for name in kafka.properties if name.startswith("sasl.") and not refusal(name)]
    for name in given:
        message = f"requires SASL, which {protocol} does not use; allowed: with {protocol} = sasl_plaintext or sasl_ssl"
        yield Finding(f"kafka.{name}", message, (protocol,))


def _sasl_login(settings: Settings) -> Iterator[Finding]:
    kafka, mechanism, file = settings.kafka, "kafka.sasl_mechanism", "kafka.sasl_password_file"
    if not kafka.sasl_mechanism or not kafka.sasl_mechanism.startswith(("PLAIN", "SCRAM")):
        return
    missing = f"is missing for {kafka.sasl_mechanism}; allowed: a text"
    if not kafka.sasl_username:
        yield Finding("kafka.sasl_username", missing, (mechanism,))
    if kafka.sasl_password is None and kafka.sasl_password_file is None:
        yield Finding("kafka.sasl_password", f"{missing}, or {file}", (mechanism, file))


def _oauth_tokens(settings: Settings) -> Iterator[Finding]:
    """Without a source of tokens the client waits for one for ever, and says nothing."""
    kafka, properties, method = settings.kafka, "kafka.properties", "sasl.oauthbearer.method"
    chosen = {name: value.get_secret_value().strip().lower() for name, value in kafka.properties.items()}
    has_source = "oidc" in chosen.get(method, "") or chosen.get("enable.sasl.oauthbearer.unsecure.jwt") == "true"
    if kafka.sasl_mechanism == "OAUTHBEARER" and not has_source:
        names = f"{method} = oidc, sasl.oauthbearer.token.endpoint.url, sasl.oauthbearer.client.id and"
        allowed = f"with {properties}.{names} sasl.oauthbearer.client.secret"
        yield Finding("kafka.sasl_mechanism", f"has no source of tokens; allowed: {allowed}", (properties,))


def _tls(settings: Settings) -> Iterator[Finding]:
    kafka, protocol = settings.kafka, "kafka.security_protocol"
    for name in [name for name in KafkaSettings.model_fields if name.startswith("ssl_") and getattr(kafka, name)]:
        if kafka.security_protocol not in _TLS:
            message = f"requires TLS, which {protocol} does not use; allowed: with {protocol} = ssl or sasl_ssl"
            yield Finding(f"kafka.{name}", message, (protocol,))
    yield from _needs("kafka", "ssl_cert_file", "ssl_key_file", kafka)
    yield from _needs("kafka", "ssl_key_file", "ssl_cert_file", kafka)
    yield from _needs("http", "key_file", "cert_file", settings.http)


def _properties(settings: Settings) -> Iterator[Finding]:
    for name in settings.kafka.properties:
        why = refusal(name)
        if why is not None:
            yield Finding(f"kafka.properties.{name}", why)


def _requests_within_a_transaction(settings: Settings) -> Iterator[Finding]:
    guarantee, name = "delivery.guarantee", "socket.timeout.ms"
    given = settings.kafka.properties.get(name)
    if settings.delivery.guarantee != "exactly_once" or given is None:
        return
    wanted = given.get_secret_value()
    if wanted.isdecimal() and not _REQUEST_TIMEOUT_MS <= int(wanted) <= TRANSACTION_TIMEOUT_MS:
        yield Finding(
            f"kafka.properties.{name}",
            "is not possible with transactions: a request must end within a transaction, and must leave time for"
            f" the answer; allowed: {_REQUEST_TIMEOUT_MS} to {TRANSACTION_TIMEOUT_MS} with {guarantee} = exactly_once",
            (guarantee,),
        )


def _topic_names(settings: Settings) -> Iterator[Finding]:
    topics = settings.topics
    # Kafka treats names that differ only in . and _ as a collision, because their metrics have the same name
    names: dict[str, str] = {key: getattr(topics, key) for key in ("events", *_NOT_FOR_EVENTS)}
    uses = Counter(name.replace(".", "_") for name in names.values())
    for key, name in names.items():
        if uses[name.replace(".", "_")] > 1:
            yield Finding(f"topics.{key}", "is also the name of another topic of the bridge; allowed: a different name")


def _routes(settings: Settings) -> Iterator[Finding]:
    topics = settings.topics
    reserved = {getattr(topics, key).replace(".", "_") for key in _NOT_FOR_EVENTS}
    for at, route in enumerate(topics.routes):
        table = f"topics.routes[{at}]"
        if route.topic.replace(".", "_") in reserved:
            message = f"{route.topic!r} holds dead letters, checkpoints or lifecycle records; allowed: another topic"
            yield Finding(f"{table}.topic", message, tuple(f"topics.{key}" for key in _NOT_FOR_EVENTS))
        if route.server and settings.servers and route.server not in settings.servers:
            known = ", ".join(sorted(settings.servers))
            yield Finding(f"{table}.server", f"{route.server!r} is not a configured server; allowed: {known}")


def _topic_config(settings: Settings) -> Iterator[Finding]:
    config, table = settings.topics.config, "topics.config"
    if "compact" in config.get("cleanup.policy", ""):
        yield Finding(f"{table}.cleanup.policy", "would delete events of a session; allowed: delete")
    largest, budget = config.get("max.message.bytes", ""), settings.events.max_bytes
    if largest.isdecimal() and int(largest) <= budget:
        message = f"is too small for events of {budget} bytes (events.max_bytes); allowed: a larger value"
        yield Finding(f"{table}.max.message.bytes", message, ("events.max_bytes",))
    least, copies = config.get("min.insync.replicas", ""), settings.topics.replication_factor
    if copies and least.isdecimal() and int(least) > copies:
        message = f"is above topics.replication_factor ({copies}): no write could succeed; allowed: at most this value"
        yield Finding(f"{table}.min.insync.replicas", message, ("topics.replication_factor",))


def _names_of_workers(settings: Settings) -> Iterator[Finding]:
    longest = TOPIC_LENGTH - len(f"-{settings.workers}")
    if settings.workers > 1 and settings.instance is not None and len(settings.instance) > longest:
        message = f"is too long for the names of {settings.workers} workers; allowed: up to {longest} characters"
        yield Finding("instance", message, ("workers",))


_RULES = (
    _sasl,
    _sasl_login,
    _oauth_tokens,
    _tls,
    _properties,
    _requests_within_a_transaction,
    _topic_names,
    _routes,
    _topic_config,
    _names_of_workers,
)
_SERVER_RULES = (_back_off, _something_to_bridge, _one_stream, _one_credential, _server_tls)
