"""The configuration, the log and the errors that all Kafka clients of the bridge have in common."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from bridge.errors import SettingsError, Unreachable
from bridge.kafka.errors import error_of, in_words
from bridge.settings.model import KafkaSettings

Answer = TypeVar("Answer")


class Authenticated(Protocol):
    """A Kafka client of the process."""

    def set_credentials(self, username: str, password: str) -> None:
        """Use these the next time that the client authenticates to a broker; connections are not cut. Any thread."""


@dataclass(frozen=True, eq=False)
class LiveConfig(Mapping[str, Any]):
    """The configuration of one kind of client: each look gives the present values. Any thread."""

    now: Callable[[], dict[str, Any]]
    """Returns what all clients have in common."""
    follow: Callable[[Authenticated, Mapping[str, Any]], None]
    """Gives a client later logins."""
    own: Mapping[str, Any]

    def copy(self) -> dict[str, Any]:
        """All values of one moment."""
        return self.now() | dict(self.own)

    def __ror__(self, defaults: Mapping[str, Any]) -> LiveConfig:
        """The same with defaults for properties that it has not."""
        return LiveConfig(lambda: {**defaults, **self.now()}, self.follow, self.own)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - of a property
        return self.copy()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.copy())

    def __len__(self) -> int:
        return len(self.copy())


def follow(config: Mapping[str, Any], client: Authenticated, made_with: Mapping[str, Any]) -> None:
    """Give a client later logins, if its configuration has any."""
    if isinstance(config, LiveConfig):
        config.follow(client, made_with)


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of one moment: a client must not get an old certificate with a new key."""
    return config.copy() if isinstance(config, LiveConfig) else dict(config)


_KNOWN = re.compile(
    r"enable\.gapless\.guarantee is experimental"  # the bridge sets it itself
    # kafka.properties apply to every kind of client.
    r"|is a (producer|consumer) property and will be ignored by this (producer|consumer) instance"
)


def client_config(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """Return librdkafka's properties, secrets included: for clients only, never for logs."""
    password, key_password = settings.sasl_password, settings.ssl_key_password
    named: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.security_protocol,
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_username,
        "sasl.password": password.get_secret_value() if password else None,
        "ssl.ca.location": settings.ssl_ca_file,
        "ssl.certificate.location": settings.ssl_cert_file,
        "ssl.key.location": settings.ssl_key_file,
        "ssl.key.password": key_password.get_secret_value() if key_password else None,
    }
    chosen = {name: secret.get_secret_value() for name, secret in settings.properties.items()}
    config = {"client.id": client_id} | _CONNECTIONS | (_RECONNECTS if _RECONNECTS.keys().isdisjoint(chosen) else {})
    config |= chosen | {name: str(value) for name, value in named.items() if value is not None}
    # A producer's request for metadata creates a deleted topic again where brokers allow it, with one partition and
    # without compaction.
    return config | {"allow.auto.create.topics": False}


_CONNECTIONS: dict[str, Any] = {
    "socket.keepalive.enable": True,
    # Load balancers drop an idle connection silently, some after 4 minutes, and the next request then waits for 60 s.
    # A connection that is closed before costs one connect. Connections to bootstrap addresses are closed as well.
    "connections.max.idle.ms": 50_000,
}
_RECONNECTS: dict[str, Any] = {
    "reconnect.backoff.ms": 100,
    # The client's default of 10 s would be most of the delay after a short outage.
    "reconnect.backoff.max.ms": 1000,
}


def slower_reconnects(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a longer first delay between two connects, unless the settings choose one."""
    is_default = all(config.get(name) == value for name, value in _RECONNECTS.items())
    return {"reconnect.backoff.ms": 500} if is_default else {}


def client_logger(role: str) -> logging.LoggerAdapter[logging.Logger]:
    """Return a logger without lines about known facts. Repeated lines are limited when written.

    ``role``: what the client is for; each of its lines has it as ``client``.
    """
    logger = logging.getLogger("bridge.kafka.librdkafka")
    logger.addFilter(_is_unknown)  # adding it again changes nothing
    return logging.LoggerAdapter(logger, {"client": role})


def _is_unknown(line: logging.LogRecord) -> bool:
    return _KNOWN.search(line.getMessage()) is None


_OTHER_NAMES = {"linger.ms": "queue.buffering.max.ms", "max.partition.fetch.bytes": "fetch.message.max.bytes"}


def below(defaults: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration with the bridge's defaults for properties that it sets under none of their names."""
    values = plain(config)
    given = {name for name in defaults if name in values or _OTHER_NAMES.get(name) in values}
    return {name: value for name, value in defaults.items() if name not in given} | values


@contextmanager
def settings_judged() -> Iterator[None]:
    """Turn the error of a client that refuses its configuration into a `SettingsError`, without any value."""
    try:
        yield
    except KafkaException as exception:
        error = error_of(exception)
        if error is None or error.code() != KafkaError._INVALID_ARG:
            raise
        raise _mistake(error.str()) from None


def _mistake(text: str) -> SettingsError:
    """Return the error for a configuration that the client refuses. No value is in it: any may be a secret."""
    if (build := _NO_MECHANISM.search(text)) is not None:
        allowed = ", ".join(build[2].replace("SASL_SCRAM", "SCRAM-SHA-256 SCRAM-SHA-512").split())
        return SettingsError.of(
            "kafka.sasl_mechanism", f"this build of the Kafka client has no {build[1]}; allowed: {allowed}"
        )
    if (value := _INVALID_VALUE.search(text)) is not None:
        return SettingsError.of(
            f"kafka.properties.{value[2]}", f"the Kafka client does not know its value; {_REFERENCE}"
        )
    if (missing := _MANDATORY.search(text)) is not None:
        return SettingsError.of(f"kafka.properties.{missing[1]}", f"is mandatory {missing[2]}; {_REFERENCE}")
    named = re.search(r'property:? "([^"]+)"', text)
    key = f"kafka.properties.{named[1]}" if named else "kafka"
    what = _QUOTED.sub("the given value", text) if named is None else "the Kafka client does not know it, or its value"
    return SettingsError.of(key, f"{what}; {_REFERENCE}")


_REFERENCE = "allowed: the properties of librdkafka's CONFIGURATION.md"
_NO_MECHANISM = re.compile(r"No provider for SASL mechanism (\S+): .*Current build options: (.*)")
_INVALID_VALUE = re.compile(r'Invalid value ("[^"]*") for configuration property "([^"]+)"')
_MANDATORY = re.compile(r"`([a-z.]+)` is mandatory (when .*)")
_QUOTED = re.compile(r'"[^"]*"')


def admin_client(config: Mapping[str, Any], logger: Any = None) -> AdminClient:  # noqa: ANN401 - as the client calls it
    """Return an admin client; it connects at the first request. Raises `SettingsError`."""
    with settings_judged():
        return AdminClient(plain(config), logger=logger or client_logger("admin"))


def judge_offline(config: Mapping[str, Any]) -> None:
    """Let a client judge its configuration, certificates included, without any connection. Raises `SettingsError`.

    Without brokers it has none to connect to. Two mechanisms act by themselves: a login at an OpenID provider, and
    Kerberos' program ``kinit``; both are left out.
    """
    acts = {"bootstrap.servers", "sasl.oauthbearer.method"}
    quiet = {"sasl.kerberos.min.time.before.relogin": 0} if config.get("sasl.mechanism") == "GSSAPI" else {}
    admin_client({name: value for name, value in config.items() if name not in acts} | quiet)


def answer_of(future: Future[Any], timeout: float) -> Any:  # noqa: ANN401 - each request has its own type of answer
    """Wait for the answer to a request of an admin client. Raises ``KafkaException``, also when none comes in time."""
    try:
        return future.result(timeout)
    except TimeoutError as late:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"no answer within {timeout:g} s")) from late


def in_thread(ask: Callable[[], Answer]) -> Future[Answer]:
    """Ask in a thread of its own what may wait for long. An exception is raised where the answer is looked at."""
    answer = Future[Answer]()

    def run() -> None:
        try:
            answer.set_result(ask())
        except Exception as bug:  # noqa: BLE001 - raised by the future
            answer.set_exception(bug)

    threading.Thread(target=run, name="question to Kafka", daemon=True).start()
    return answer


def unreachable(doing: str, exception: KafkaException) -> Unreachable:
    """Return the error for a failure that may be temporary: what was tried, and the client's error."""
    error = error_of(exception)
    return Unreachable(f"Kafka: {doing}: {in_words(error) if error else exception}")
