"""Rules between keys: each value is valid alone, but the combination cannot work. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

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

    path: Path
    message: str
    others: tuple[Path, ...] = ()


def broken_rules(settings: Settings, wrong: set[Path]) -> list[Mistake]:
    """Every broken rule. A rule about a key with an invalid value is skipped: the tree has its default instead."""
    findings = [finding for rule in _RULES for finding in rule(settings)]
    findings += [finding for item in settings.servers.items() for rule in _SERVER_RULES for finding in rule(*item)]
    return [
        Mistake(dotted(path), _value(settings, path) + message)
        for path, message, others in findings
        if not any(bad[: len(key)] == key for key in (path, *others) for bad in wrong)
    ]


def _value(settings: Settings, path: Path) -> str:
    """The value at a path and a space; nothing for a secret, without a value, or in a row of a list."""
    value = dict(values(settings)).get(path)
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
        if not value and not any(_overlap(key, other) for other in reported):
            yield Mistake(key, message)


def _overlap(key: str, other: str) -> bool:
    """Whether one key equals the other, or is a table that contains it."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _back_off(name: str, server: ServerSettings) -> Iterator[Finding]:
    low, high = ("servers", name, "reconnect_min"), ("servers", name, "reconnect_max")
    if server.reconnect_min > server.reconnect_max:
        most = format_duration(server.reconnect_max)
        yield Finding(low, f"is above {dotted(high)} ({most}); allowed: at most this value", (high,))


def _something_to_bridge(name: str, server: ServerSettings) -> Iterator[Finding]:
    sessions, discover = ("servers", name, "sessions"), ("servers", name, "discover")
    if not server.sessions and not server.discover:
        yield Finding(sessions, f"is empty; allowed: session ids, or {dotted(discover)} = true", (discover,))


def _one_stream(name: str, server: ServerSettings) -> Iterator[Finding]:
    path, sessions, discover = (("servers", name, key) for key in ("stream_path", "sessions", "discover"))
    if "{session}" not in server.stream_path and (server.discover or len(server.sessions) != 1):
        yield Finding(
            path,
            f"has no {{session}}, so all sessions would read one stream; allowed: a path with it, or one id in"
            f" {dotted(sessions)} and {dotted(discover)} = false",
            (sessions, discover),
        )


def _one_credential(name: str, server: ServerSettings) -> Iterator[Finding]:
    path = ("servers", name)
    present = {
        (*path, "url"): server.url.has_credentials,
        (*path, "token"): server.token is not None,
        (*path, "token_file"): server.token_file is not None and server.token is None,
        (*path, "headers", "authorization"): "authorization" in server.headers,
    }
    keys = [key for key, is_present in present.items() if is_present]
    for key in keys[1:]:
        message = f"conflicts with {dotted(keys[0])}, which also sets the Authorization header; allowed: one of the two"
        yield Finding(key, message, (keys[0],))


def _server_tls(name: str, server: ServerSettings) -> Iterator[Finding]:
    url, certificate, key = (("servers", name, key) for key in ("url", "client_cert_file", "client_key_file"))
    files = {"ca_file": server.ca_file, certificate[-1]: server.client_cert_file, key[-1]: server.client_key_file}
    for given in [given for given, file in files.items() if file is not None and server.url.scheme == "http"]:
        yield Finding(("servers", name, given), f"requires TLS; allowed: with an https:// {dotted(url)}", (url,))
    if server.client_key_file and not server.client_cert_file:  # a certificate's file may contain the key, too
        yield Finding(key, f"needs {dotted(certificate)}; allowed: both or none", (certificate,))


def _sasl(settings: Settings) -> Iterator[Finding]:
    kafka, protocol = settings.kafka, ("kafka", "security_protocol")
    if kafka.security_protocol in _SASL:
        return
    names = [key for key in KafkaSettings.model_fields if key.startswith("sasl_")]
    given: list[Path] = [("kafka", key) for key in names if getattr(kafka, key)]
    given += [
        ("kafka", "properties", name) for name in kafka.properties if name.startswith("sasl.") and not refusal(name)
    ]
    for key in given:
        allowed = f"with {dotted(protocol)} = sasl_plaintext or sasl_ssl"
        yield Finding(key, f"requires SASL, which {dotted(protocol)} does not use; allowed: {allowed}", (protocol,))


def _sasl_login(settings: Settings) -> Iterator[Finding]:
    kafka, mechanism = settings.kafka, ("kafka", "sasl_mechanism")
    if not kafka.sasl_mechanism or not kafka.sasl_mechanism.startswith(("PLAIN", "SCRAM")):
        return
    password, file = ("kafka", "sasl_password"), ("kafka", "sasl_password_file")
    if not kafka.sasl_username:
        yield Finding(
            ("kafka", "sasl_username"), f"is missing for {kafka.sasl_mechanism}; allowed: a text", (mechanism,)
        )
    if kafka.sasl_password is None and kafka.sasl_password_file is None:
        message = f"is missing for {kafka.sasl_mechanism}; allowed: a text, or {dotted(file)}"
        yield Finding(password, message, (mechanism, file))


def _oauth_tokens(settings: Settings) -> Iterator[Finding]:
    """Without a source of tokens the client waits for one for ever, and says nothing."""
    kafka, properties = settings.kafka, ("kafka", "properties")
    chosen = {name: value.get_secret_value().strip().lower() for name, value in kafka.properties.items()}
    has_source = "oidc" in chosen.get(_METHOD, "") or chosen.get("enable.sasl.oauthbearer.unsecure.jwt") == "true"
    if kafka.sasl_mechanism == "OAUTHBEARER" and not has_source:
        names = f"{_METHOD} = oidc, sasl.oauthbearer.token.endpoint.url, sasl.oauthbearer.client.id and"
        allowed = f"with {dotted(properties)}.{names} sasl.oauthbearer.client.secret"
        yield Finding(("kafka", "sasl_mechanism"), f"has no source of tokens; allowed: {allowed}", (properties,))


_METHOD = "sasl.oauthbearer.method"


def _kafka_tls(settings: Settings) -> Iterator[Finding]:
    kafka, protocol = settings.kafka, ("kafka", "security_protocol")
    certificate, key = ("kafka", "ssl_cert_file"), ("kafka", "ssl_key_file")
    for field in [field for field in KafkaSettings.model_fields if field.startswith("ssl_") and getattr(kafka, field)]:
        if kafka.security_protocol not in _TLS:
            allowed = f"with {dotted(protocol)} = ssl or sasl_ssl"
            yield Finding(
                ("kafka", field),
                f"requires TLS, which {dotted(protocol)} does not use; allowed: {allowed}",
                (protocol,),
            )
    if kafka.ssl_cert_file and not kafka.ssl_key_file:
        yield Finding(certificate, f"needs {dotted(key)}; allowed: both or none", (key,))
    if kafka.ssl_key_file and not kafka.ssl_cert_file:
        yield Finding(key, f"needs {dotted(certificate)}; allowed: both or none", (certificate,))


def _http_tls(settings: Settings) -> Iterator[Finding]:
    certificate, key = ("http", "cert_file"), ("http", "key_file")
    if settings.http.key_file and not settings.http.cert_file:
        yield Finding(key, f"needs {dotted(certificate)}; allowed: both or none", (certificate,))


def _properties(settings: Settings) -> Iterator[Finding]:
    for name in settings.kafka.properties:
        why = refusal(name)
        if why is not None:
            yield Finding(("kafka", "properties", name), why)


def _requests_within_a_transaction(settings: Settings) -> Iterator[Finding]:
    guarantee, name = ("delivery", "guarantee"), "socket.timeout.ms"
    given = settings.kafka.properties.get(name)
    if settings.delivery.guarantee != "exactly_once" or given is None:
        return
    wanted = given.get_secret_value()
    if wanted.isdecimal() and not _REQUEST_TIMEOUT_MS <= int(wanted) <= TRANSACTION_TIMEOUT_MS:
        yield Finding(
            ("kafka", "properties", name),
            "is not possible with transactions: a request must end within a transaction, and must leave time for"
            f" the answer; allowed: {_REQUEST_TIMEOUT_MS} to {TRANSACTION_TIMEOUT_MS} with"
            f" {dotted(guarantee)} = exactly_once",
            (guarantee,),
        )


def _topic_names(settings: Settings) -> Iterator[Finding]:
    topics = settings.topics
    # Kafka treats names that differ only in . and _ as a collision, because their metrics have the same name
    names: dict[str, str] = {key: getattr(topics, key) for key in ("events", *_NOT_FOR_EVENTS)}
    uses = Counter(name.replace(".", "_") for name in names.values())
    for key, name in names.items():
        if uses[name.replace(".", "_")] > 1:
            yield Finding(("topics", key), "is also the name of another topic of the bridge; allowed: a different name")


def _routes(settings: Settings) -> Iterator[Finding]:
    topics = settings.topics
    reserved = {getattr(topics, key).replace(".", "_") for key in _NOT_FOR_EVENTS}
    for at, route in enumerate(topics.routes):
        path = ("topics", f"routes[{at}]")
        if route.topic.replace(".", "_") in reserved:
            message = f"{route.topic!r} holds dead letters, checkpoints or lifecycle records; allowed: another topic"
            yield Finding((*path, "topic"), message, tuple(("topics", key) for key in _NOT_FOR_EVENTS))
        if route.server and settings.servers and route.server not in settings.servers:
            known = ", ".join(sorted(settings.servers))
            yield Finding((*path, "server"), f"{route.server!r} is not a configured server; allowed: {known}")


def _topic_config(settings: Settings) -> Iterator[Finding]:
    config, path = settings.topics.config, ("topics", "config")
    if "compact" in config.get("cleanup.policy", ""):
        yield Finding((*path, "cleanup.policy"), "would delete events of a session; allowed: delete")
    largest, budget = config.get("max.message.bytes", ""), settings.events.max_bytes
    if largest.isdecimal() and int(largest) <= budget:
        message = f"is too small for events of {budget} bytes (events.max_bytes); allowed: a larger value"
        yield Finding((*path, "max.message.bytes"), message, (("events", "max_bytes"),))
    least, copies = config.get("min.insync.replicas", ""), settings.topics.replication_factor
    if copies and least.isdecimal() and int(least) > copies:
        message = f"is above topics.replication_factor ({copies}): no write could succeed; allowed: at most this value"
        yield Finding((*path, "min.insync.replicas"), message, (("topics", "replication_factor"),))


def _names_of_workers(settings: Settings) -> Iterator[Finding]:
    longest = TOPIC_LENGTH - len(f"-{settings.workers}")
    if settings.workers > 1 and settings.instance is not None and len(settings.instance) > longest:
        message = f"is too long for the names of {settings.workers} workers; allowed: up to {longest} characters"
        yield Finding(("instance",), message, (("workers",),))


_RULES = (
    _sasl,
    _sasl_login,
    _oauth_tokens,
    _kafka_tls,
    _http_tls,
    _properties,
    _requests_within_a_transaction,
    _topic_names,
    _routes,
    _topic_config,
    _names_of_workers,
)
_SERVER_RULES = (_back_off, _something_to_bridge, _one_stream, _one_credential, _server_tls)
