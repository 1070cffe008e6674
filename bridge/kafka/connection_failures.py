"""What stands between a client and Kafka, found out from what the client complains of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from confluent_kafka import KafkaError

from bridge.errors import Unreachable


class ConnectionFailure(Enum):
    """What stands between the bridge and Kafka."""

    LOGIN = auto()
    TLS = auto()
    PROTOCOL = auto()
    """Somebody answers, but not a Kafka broker, or not on this kind of listener."""
    REFUSED = auto()
    NAME = auto()
    SILENT = auto()
    OTHER = auto()


WAYS_ROUND = {
    ConnectionFailure.LOGIN: "check kafka.sasl_mechanism, kafka.sasl_username and kafka.sasl_password, and that the"
    " listener speaks SASL (kafka.security_protocol)",
    ConnectionFailure.TLS: "check kafka.ssl_ca_file (the authority of the brokers' certificates), the host name in"
    " kafka.bootstrap_servers, and that the listener speaks TLS (kafka.security_protocol)",
    ConnectionFailure.PROTOCOL: "something else listens there, or this listener wants another kafka.security_protocol",
    ConnectionFailure.REFUSED: "nobody listens there: start Kafka, or correct kafka.bootstrap_servers",
    ConnectionFailure.NAME: "the name is not known here: correct kafka.bootstrap_servers, or the resolver of this"
    " machine",
    ConnectionFailure.SILENT: "look for a firewall between here and the brokers; a TLS listener is silent to plaintext"
    " (kafka.security_protocol)",
    ConnectionFailure.OTHER: "look up that error with the brokers' log beside it",
}
"""What to do about each."""


class Complaint(NamedTuple):
    """One error of the client's, as its error callback is told."""

    code: int
    text: str


class NotReached(Unreachable):
    """Kafka did not answer, and as far as the client can tell this is why."""

    def __init__(self, connection_failure: ConnectionFailure, detail: str) -> None:
        super().__init__(f"{detail}; {WAYS_ROUND[connection_failure]}")
        self.connection_failure = connection_failure
        self.detail = detail


def connection_failure_of(complaints: Sequence[Complaint], waited: float) -> tuple[ConnectionFailure, str]:
    """What to tell of all the client complained about: the error nearest to the goal. Pure."""
    met = [(_sorted_out(each), each) for each in complaints if each.code != KafkaError._ALL_BROKERS_DOWN]
    if not met:
        return ConnectionFailure.SILENT, f"no answer within {waited:g} s"
    connection_failure, nearest = min(met, key=lambda one: _NEARNESS.index(one[0]))
    return connection_failure, _AFTER.sub("", nearest.text)


# One broker of several that refuses a login says more than the others that are away.
_NEARNESS = (
    ConnectionFailure.LOGIN,
    ConnectionFailure.TLS,
    ConnectionFailure.PROTOCOL,
    ConnectionFailure.REFUSED,
    ConnectionFailure.NAME,
    ConnectionFailure.SILENT,
    ConnectionFailure.OTHER,
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
_AFTER = re.compile(r" \((?:after|in state) [^()]*\)")


def _sorted_out(complaint: Complaint) -> ConnectionFailure:
    if complaint.code != KafkaError._TRANSPORT:
        return _BY_CODE.get(complaint.code, ConnectionFailure.OTHER)
    if "refused" in complaint.text:
        return ConnectionFailure.REFUSED
    if "timed out" in complaint.text:
        return ConnectionFailure.SILENT
    # What comes of speaking TLS to a plain listener, or the other way round: librdkafka itself asks whether that is so.
    wrong = any(words in complaint.text for words in ("security.protocol", "listener?"))
    return ConnectionFailure.PROTOCOL if wrong else ConnectionFailure.OTHER


class Complaints:
    """What one client has complained of since it was made. Thread rule: the thread that polls the client."""

    def __init__(self) -> None:
        self._heard: list[Complaint] = []

    def note(self, error: KafkaError) -> None:
        """The client's ``error_cb``."""
        self._heard.append(Complaint(error.code(), error.str()))

    @property
    def all_were_tried(self) -> bool:
        """Whether the client says that no broker is left to try."""
        return any(each.code == KafkaError._ALL_BROKERS_DOWN for each in self._heard)

    def as_error(self, waited: float, doing: str = "") -> NotReached:
        """Why Kafka did not answer within so many seconds, as far as the client can tell."""
        connection_failure, detail = connection_failure_of(self._heard, waited)
        return NotReached(connection_failure, f"{doing}{detail}")
