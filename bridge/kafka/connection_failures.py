"""Finds out why a client cannot reach Kafka, from the errors that it reported."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata

from bridge.clock import monotonic
from bridge.errors import Unreachable

_ATTEMPT = 0.5
"""Seconds of one request for metadata: the client reports the errors it met only between two requests."""


class ConnectionFailure(Enum):
    """The kind of failure; earlier ones say more about the cause, because the connection got further."""

    LOGIN = auto()
    TLS = auto()
    PROTOCOL = auto()
    """Another program than a Kafka broker answers, or another kind of listener."""
    REFUSED = auto()
    NAME = auto()
    SILENT = auto()
    OTHER = auto()


REMEDIES = {
    ConnectionFailure.LOGIN: "check kafka.sasl_mechanism, kafka.sasl_username and kafka.sasl_password, and that the"
    " listener uses SASL (kafka.security_protocol)",
    ConnectionFailure.TLS: "check kafka.ssl_ca_file (the authority of the brokers' certificates), the host name in"
    " kafka.bootstrap_servers, and that the listener uses TLS (kafka.security_protocol)",
    ConnectionFailure.PROTOCOL: "another program listens there, or this listener requires another"
    " kafka.security_protocol",
    ConnectionFailure.REFUSED: "no program listens there: start Kafka, or correct kafka.bootstrap_servers",
    ConnectionFailure.NAME: "this machine cannot resolve the host name: correct kafka.bootstrap_servers, or the"
    " resolver",
    ConnectionFailure.SILENT: "check for a firewall between this machine and the brokers; a TLS listener does not"
    " answer a plaintext client (kafka.security_protocol)",
    ConnectionFailure.OTHER: "look up this error, and check the brokers' log",
}
"""The fix for each kind."""


class ClientError(NamedTuple):
    """One error that the client reported to its error callback."""

    code: int
    text: str


class NotReached(Unreachable):
    """Kafka did not answer; as far as the client knows, this is why."""

    def __init__(self, connection_failure: ConnectionFailure, detail: str) -> None:
        super().__init__(f"{detail}; {REMEDIES[connection_failure]}")
        self.connection_failure = connection_failure
        self.detail = detail


def connection_failure_of(errors: Sequence[ClientError], waited: float) -> tuple[ConnectionFailure, str]:
    """Return the error of the connection that got furthest. Pure."""
    kinds = [(_kind(each), each) for each in errors if each.code != KafkaError._ALL_BROKERS_DOWN]
    if not kinds:
        return ConnectionFailure.SILENT, f"no answer within {waited:g} s"
    # One broker of several that refuses a login says more than the others, which are down.
    kind, error = min(kinds, key=lambda one: one[0].value)
    return kind, _CLIENT_STATE.sub("", error.text)


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


def _kind(error: ClientError) -> ConnectionFailure:
    if error.code != KafkaError._TRANSPORT:
        return _BY_CODE.get(error.code, ConnectionFailure.OTHER)
    if "refused" in error.text:
        return ConnectionFailure.REFUSED
    if "timed out" in error.text:
        return ConnectionFailure.SILENT
    # The effect of TLS on a plaintext listener or the reverse: librdkafka asks "is this a ... listener?".
    is_other_protocol = any(words in error.text for words in ("security.protocol", "listener?"))
    return ConnectionFailure.PROTOCOL if is_other_protocol else ConnectionFailure.OTHER


class ClientErrors:
    """The errors that one client reported. Thread rule: the thread that polls the client."""

    def __init__(self) -> None:
        self._errors: list[ClientError] = []

    def note(self, error: KafkaError) -> None:
        """Remember an error; the client's ``error_cb``."""
        self._errors.append(ClientError(error.code(), error.str()))

    def clear(self) -> None:
        """Forget all errors."""
        self._errors.clear()

    @property
    def all_brokers_failed(self) -> bool:
        """Whether the client has no broker left to try."""
        return any(each.code == KafkaError._ALL_BROKERS_DOWN for each in self._errors)

    def as_error(self, waited: float, doing: str) -> NotReached:
        """Return why Kafka did not answer within so many seconds, as far as the client knows."""
        connection_failure, detail = connection_failure_of(self._errors, waited)
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
