"""The configuration every Kafka client starts from, and the admin client's answers as values."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from math import inf
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from bridge.clock import monotonic
from bridge.errors import SettingsError, Unreachable
from bridge.kafka.errors import error_of, in_words
from bridge.settings.model import KafkaSettings

_NOT_NEWS = re.compile(
    r"enable\.gapless\.guarantee is experimental"  # our own choice, at every start
    # One set of kafka.properties is for every client, whatever it is.
    r"|is a (producer|consumer) property and will be ignored by this (producer|consumer) instance"
)


def client_config(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """Names and values for librdkafka, with the secrets in the clear: for clients only, never for logs."""
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
    config: dict[str, Any] = {"client.id": client_id}
    config |= {name: secret.get_secret_value() for name, secret in settings.properties.items()}
    return config | {name: str(value) for name, value in named.items() if value is not None}


def client_logger() -> logging.Logger:
    """Where every client says what it has to say, without what the bridge knows already."""
    logger = logging.getLogger("bridge.kafka.librdkafka")
    logger.addFilter(_is_news)  # adding it again changes nothing
    logger.addFilter(_REPEATS)
    return logger


def _is_news(line: logging.LogRecord) -> bool:
    return _NOT_NEWS.search(line.getMessage()) is None


class Repeats(logging.Filter):
    """Lets a line through that was not said, but for its numbers, in the last half minute.

    A client whose only known broker is away tells of every attempt, twenty times a second. Thread rule: any thread; two
    threads at once may let one line too many through.
    """

    _PAUSE = 30.0
    _MOST = 500

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is to be said."""
        text, now = _NUMBER.sub("#", record.getMessage()), self._clock()
        if now - self._said.get(text, -inf) < self._PAUSE:
            return False
        if len(self._said) >= self._MOST:
            self._said.clear()
        self._said[text] = now
        return True


_NUMBER = re.compile(r"(?<![\w.:])\d+(?=\s|ms)|\b\d+ms")
"""Durations and counts, not the numbers of brokers, ports and clients."""
_REPEATS = Repeats()


_OTHER_NAMES = {"linger.ms": "queue.buffering.max.ms"}


def below(defaults: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration on top of the bridge's own tuning, which gives way to a setting under any of its names."""
    taken = {name for name in defaults if name in config or _OTHER_NAMES.get(name) in config}
    return {name: value for name, value in defaults.items() if name not in taken} | dict(config)


@contextmanager
def settings_judged() -> Iterator[None]:
    """Make a client inside: what it says of its configuration becomes a `SettingsError`, without any value."""
    try:
        yield
    except KafkaException as exception:
        error = error_of(exception)
        if error is None or error.code() != KafkaError._INVALID_ARG:
            raise
        named = re.search(r'property:? "([^"]+)"', error.str())
        key = f"kafka.properties.{named[1]}" if named else "kafka"
        what = (
            _QUOTED.sub("the given value", error.str()) if named is None else "no name or value the Kafka client knows"
        )
        raise SettingsError.of(key, f"{what}; allowed: what librdkafka's configuration page lists") from None


_QUOTED = re.compile(r'"[^"]*"')


def admin_client(config: Mapping[str, Any]) -> AdminClient:
    """An admin client; it connects when it is first used. Raises `SettingsError`."""
    with settings_judged():
        return AdminClient(dict(config), logger=client_logger())


def reader(config: Mapping[str, Any], *, isolation: str = "read_committed") -> Consumer:
    """A consumer that belongs to no group: partitions are assigned by hand, nothing is ever committed."""
    with settings_judged():
        return Consumer(reader_config(config, isolation), logger=client_logger())


def reader_config(config: Mapping[str, Any], isolation: str) -> dict[str, Any]:
    """What a reader is made with: what makes it read rightly is the bridge's, everything else the settings'."""
    own = {
        "group.id": "mix-bridge-reads-without-a-group",  # librdkafka wants one; it is never joined
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "isolation.level": isolation,
        "enable.partition.eof": False,
        "allow.auto.create.topics": False,
    }
    # The end of a partition is then found in 0.02 s, not in 0.5 s.
    return below({"fetch.wait.max.ms": 10}, config) | own


def answer_of(future: Future[Any], timeout: float) -> Any:  # noqa: ANN401 - each request has its own type of answer
    """Wait for the answer to a request of an admin client. Raises ``KafkaException``, also when none comes in time."""
    try:
        return future.result(timeout)
    except TimeoutError as late:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"no answer within {timeout:g} s")) from late


def unreachable(doing: str, exception: KafkaException) -> Unreachable:
    """Return the error for a failure that may be temporary: what was tried, and the client's error."""
    error = error_of(exception)
    return Unreachable(f"Kafka: {doing}: {in_words(error) if error else exception}")
