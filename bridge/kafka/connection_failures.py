"""Finds out why a client cannot reach Kafka, from the errors that it reported."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from enum import Enum, auto
from math import inf
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata

from bridge.clock import monotonic
from bridge.errors import Unreachable
from bridge.kafka.brokers import Advertised
from bridge.kafka.config import client_logger
from bridge.settings.addresses import mask_credentials

_ATTEMPT = 0.5
"""Seconds of one request for metadata: the client reports the errors it met only between two requests."""


class ConnectionFailure(Enum):
    """The kind of failure; earlier ones say more about the cause, because the connection got further."""

    TOKEN = auto()
    """The token endpoint (OAUTHBEARER) gave no token."""
    LOGIN = auto()
    TLS = auto()
    PROTOCOL = auto()
    """Another program than a Kafka broker answers, or another kind of listener."""
    ADVERTISED = auto()
    """A bootstrap broker answered; the address that a broker advertises cannot be reached."""
    REFUSED = auto()
    NAME = auto()
    CLOSED = auto()
    """The connection ended before the first answer."""
    SILENT = auto()
    OTHER = auto()


REMEDIES = {
    ConnectionFailure.TOKEN: "check kafka.properties.sasl.oauthbearer.token.endpoint.url, the client id and the client"
    " secret, and that this machine reaches the endpoint",
    ConnectionFailure.LOGIN: "check kafka.sasl_mechanism, kafka.sasl_username and kafka.sasl_password, and that the"
    " listener uses SASL (kafka.security_protocol)",
    ConnectionFailure.TLS: "check kafka.ssl_ca_file (the authority of the brokers' certificates), the host name in"
    " kafka.bootstrap_servers, and that the listener uses TLS (kafka.security_protocol)",
    ConnectionFailure.PROTOCOL: "another program listens there, or this listener requires another"
    " kafka.security_protocol",
    ConnectionFailure.ADVERTISED: "correct advertised.listeners of the broker, or open the network from this machine to"
    " that address",
    ConnectionFailure.REFUSED: "no program listens there: start Kafka, or correct kafka.bootstrap_servers",
    ConnectionFailure.NAME: "this machine cannot resolve the host name: correct kafka.bootstrap_servers, or the"
    " resolver",
    ConnectionFailure.CLOSED: "the broker has as many connections as it allows: raise its max.connections.per.ip,"
    " max.connections or max.connection.creation.rate; or this listener requires another kafka.security_protocol, the"
    " broker is starting, or another program listens there",
    ConnectionFailure.SILENT: "check for a firewall between this machine and the brokers; a TLS listener does not"
    " answer a plaintext client (kafka.security_protocol), and a broker that has as many connections as it allows"
    " (max.connections) answers no more",
    ConnectionFailure.OTHER: "look up this error, and check the brokers' log",
}


class NotReached(Unreachable):
    """Kafka did not answer; as far as the client knows, this is why."""

    def __init__(self, connection_failure: ConnectionFailure, detail: str) -> None:
        super().__init__(f"{detail}; {REMEDIES[connection_failure]}")
        self.connection_failure = connection_failure
        self.detail = detail


class Destinations(NamedTuple):
    """The addresses in a client's configuration."""

    bootstrap: frozenset[str] = frozenset()
    token_endpoint: str = ""
    """Without credentials and query."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Destinations:
        """Return the addresses in a configuration by librdkafka's names."""
        brokers = (each.strip() for each in str(config.get("bootstrap.servers", "")).split(","))
        with_port = (each if _PORT.search(each) else f"{each}:9092" for each in brokers)
        endpoint = mask_credentials(str(config.get("sasl.oauthbearer.token.endpoint.url", "")))
        return cls(frozenset(with_port), endpoint.partition("?")[0])


_PORT = re.compile(r":\d+$")


def connection_failure_of(
    errors: Iterable[KafkaError], waited: float, destinations: Destinations
) -> tuple[ConnectionFailure, str]:
    """Return the error of the connection that got furthest. Pure."""
    found = [_judged(each, destinations) for each in errors if each.code() != KafkaError._ALL_BROKERS_DOWN]
    if not found:
        return ConnectionFailure.SILENT, f"no answer within {waited:g} s"
    # One broker of several that refuses a login says more than the others, which are down.
    return min(found, key=lambda one: one[0].value)


def _judged(error: KafkaError, destinations: Destinations) -> tuple[ConnectionFailure, str]:
    """Return the kind and the text of one error."""
    kind, text = _kind(error), _CLIENT_STATE.sub("", error.str())
    if text.startswith(_WITHOUT_LOGIN):
        refused = "refused the connection" if "connect" in text.lower() else "refused to give a token"
        reason = text.removeprefix(_WITHOUT_LOGIN)
        return ConnectionFailure.TOKEN, f"token endpoint {destinations.token_endpoint} {refused}: {reason}"
    if kind in _NOT_CONNECTED and (advertised := _ADVERTISED.match(text)) is not None:
        address, broker, why = advertised.groups()
        if address not in destinations.bootstrap:
            return ConnectionFailure.ADVERTISED, Advertised(int(broker), address).unreachable(why)
    return kind, text


_WITHOUT_LOGIN = "Failed to acquire SASL OAUTHBEARER token: "
_ADVERTISED = re.compile(r"(\S+:\d+)/(\d+): (.*(?:[Cc]onnect|resolve).*)")
"""An error about a broker by its number: the client learned its address from another one."""
_NOT_CONNECTED = frozenset(
    {ConnectionFailure.REFUSED, ConnectionFailure.NAME, ConnectionFailure.SILENT, ConnectionFailure.OTHER}
)


_BY_CODE = {
    KafkaError._AUTHENTICATION: ConnectionFailure.LOGIN,
    KafkaError.SASL_AUTHENTICATION_FAILED: ConnectionFailure.LOGIN,
    KafkaError.UNSUPPORTED_SASL_MECHANISM: ConnectionFailure.LOGIN,
    KafkaError._SSL: ConnectionFailure.TLS,
    KafkaError._BAD_MSG: ConnectionFailure.PROTOCOL,
    KafkaError._RESOLVE: ConnectionFailure.NAME,
    KafkaError._TIMED_OUT: ConnectionFailure.SILENT,
    KafkaError._TIMED_OUT_QUEUE: ConnectionFailure.SILENT,
}
_CLIENT_STATE = re.compile(r" \((?:after|in state) [^()]*\)")
"""Details that are for the developers of the client."""


def _kind(error: KafkaError) -> ConnectionFailure:
    if error.code() != KafkaError._TRANSPORT:
        return _BY_CODE.get(error.code(), ConnectionFailure.OTHER)
    if "refused" in error.str():
        return ConnectionFailure.REFUSED
    if "timed out" in error.str():
        return ConnectionFailure.SILENT
    # The effect of TLS on a plaintext listener or the reverse: librdkafka asks "is this a ... listener?".
    if any(words in error.str() for words in ("security.protocol", "listener?")):
        return ConnectionFailure.PROTOCOL
    return ConnectionFailure.CLOSED if _CLOSED.search(error.str()) else ConnectionFailure.OTHER


_CLOSED = re.compile(r"\S+: Disconnected: .* in state APIVERSION_QUERY\)")
"""In the log of a client: the other side ended the connection before its first answer."""
_STATE_OF_USE = "in state UP"
"""In the log of a client: a connection broke that may have carried requests."""
LOG_LEVEL = 6
"""Syslog level "info": librdkafka's own default."""
_AS_IN_PYTHON = (50, 50, 50, 40, 30, 20, 20, 10)
"""The Python log level that the client uses for each syslog level."""
_KEPT = 50
"""Errors of one client: far more than a cluster causes between two requests."""


class ClientErrors:
    """The errors that one client reported, and its logger.

    librdkafka's error callback does not run when the other side ends a connection in an orderly way: only the log
    shows it. A broker ends a connection beyond ``max.connections.per.ip`` before the first answer. Of one that was in
    use, librdkafka repeats a pending request. Thread rule: the thread that polls the client, except for ``cause``.
    """

    def __init__(self, config: Mapping[str, Any], role: str, level: int = len(_AS_IN_PYTHON) - 1) -> None:
        """``config``: the client's, by librdkafka's names; ``role``: see `client_logger`.

        ``level``: the most detailed syslog level that is logged.
        """
        self.broken_at = -inf
        """When a connection last broke that may have carried requests, by :func:`bridge.clock.monotonic`."""
        self._destinations = Destinations.of(config)
        self._errors: deque[KafkaError] = deque(maxlen=_KEPT)
        self._logger = client_logger(role)
        self._level = _AS_IN_PYTHON[max(0, min(level, len(_AS_IN_PYTHON) - 1))]

    def note(self, error: KafkaError) -> None:
        """Remember an error; the client's ``error_cb``."""
        self._errors.append(error)

    def log(self, level: int, line: str, *parts: object) -> None:
        """As :meth:`logging.Logger.log`, with ``level`` by Python's numbers."""
        if any(_STATE_OF_USE in str(part) for part in parts):
            self.broken_at = monotonic()
        found = next((closed for part in parts if (closed := _CLOSED.search(str(part)))), None)
        if found is not None:
            self._errors.append(KafkaError(KafkaError._TRANSPORT, found[0]))
        if level >= self._level:
            self._logger.log(level, line, *parts)

    def clear(self) -> None:
        """Forget all errors."""
        self._errors.clear()

    @property
    def all_brokers_failed(self) -> bool:
        """Whether the client has no broker left to try."""
        return any(each.code() == KafkaError._ALL_BROKERS_DOWN for each in self._errors)

    @property
    def cause(self) -> str | None:
        """Why Kafka does not answer, and the fix; None without an error (any thread)."""
        errors = tuple(self._errors)
        if all(each.code() == KafkaError._ALL_BROKERS_DOWN for each in errors):
            return None
        connection_failure, detail = connection_failure_of(errors, 0.0, self._destinations)
        return f"{detail}; {REMEDIES[connection_failure]}"

    def as_error(self, waited: float, doing: str) -> NotReached:
        """Return why Kafka did not answer within so many seconds, as far as the client knows."""
        connection_failure, detail = connection_failure_of(self._errors, waited, self._destinations)
        return NotReached(connection_failure, f"{doing}{detail}")


def cluster_metadata(admin: AdminClient, errors: ClientErrors, timeout: float, doing: str = "") -> ClusterMetadata:
    """Return the metadata of all topics; ``errors`` is the client's ``error_cb``. Raises ``NotReached``."""
    end = monotonic() + timeout
    while True:
        try:
            return admin.list_topics(timeout=_ATTEMPT)  # of all topics: naming one may make a broker create it
        except KafkaException as exception:
            admin.poll(0)  # the answer itself only says that there was none; this calls back with the reasons
            if errors.all_brokers_failed or monotonic() > end:
                raise errors.as_error(timeout, doing) from exception
