"""What stands between a client and Kafka, found out from what the client complains of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from confluent_kafka import KafkaError

from bridge.errors import Unreachable


class Obstacle(Enum):
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
    Obstacle.LOGIN: "check kafka.sasl_mechanism, kafka.sasl_username and kafka.sasl_password, and that the listener"
    " speaks SASL (kafka.security_protocol)",
    Obstacle.TLS: "check kafka.ssl_ca_file (the authority of the brokers' certificates), the host name in"
    " kafka.bootstrap_servers, and that the listener speaks TLS (kafka.security_protocol)",
    Obstacle.PROTOCOL: "something else listens there, or this listener wants another kafka.security_protocol",
    Obstacle.REFUSED: "nobody listens there: start Kafka, or correct kafka.bootstrap_servers",
    Obstacle.NAME: "the name is not known here: correct kafka.bootstrap_servers, or the resolver of this machine",
    Obstacle.SILENT: "look for a firewall between here and the brokers; a TLS listener is silent to plaintext"
    " (kafka.security_protocol)",
    Obstacle.OTHER: "look up that error with the brokers' log beside it",
}
"""What to do about each."""


class Complaint(NamedTuple):
    """One error of the client's, as its error callback is told."""

    code: int
    text: str


class NotReached(Unreachable):
    """Kafka did not answer, and as far as the client can tell this is why."""

    def __init__(self, obstacle: Obstacle, detail: str) -> None:
        super().__init__(f"{detail}; {WAYS_ROUND[obstacle]}")
        self.obstacle = obstacle
        self.detail = detail


def obstacle_of(complaints: Sequence[Complaint], waited: float) -> tuple[Obstacle, str]:
    """What to tell of all the client complained about: the error nearest to the goal. Pure."""
    met = [(_sorted_out(each), each) for each in complaints if each.code != KafkaError._ALL_BROKERS_DOWN]
    if not met:
        return Obstacle.SILENT, f"no answer within {waited:g} s"
    obstacle, nearest = min(met, key=lambda one: _NEARNESS.index(one[0]))
    return obstacle, _AFTER.sub("", nearest.text)


# One broker of several that refuses a login says more than the others that are away.
_NEARNESS = (
    Obstacle.LOGIN,
    Obstacle.TLS,
    Obstacle.PROTOCOL,
    Obstacle.REFUSED,
    Obstacle.NAME,
    Obstacle.SILENT,
    Obstacle.OTHER,
)
_BY_CODE = {
    KafkaError._AUTHENTICATION: Obstacle.LOGIN,
    KafkaError.SASL_AUTHENTICATION_FAILED: Obstacle.LOGIN,
    KafkaError.UNSUPPORTED_SASL_MECHANISM: Obstacle.LOGIN,
    KafkaError._SSL: Obstacle.TLS,
    KafkaError._BAD_MSG: Obstacle.PROTOCOL,
    KafkaError._RESOLVE: Obstacle.NAME,
    KafkaError._TIMED_OUT: Obstacle.SILENT,
    KafkaError._TIMED_OUT_QUEUE: Obstacle.SILENT,
}
_AFTER = re.compile(r" \((?:after|in state) [^()]*\)")


def _sorted_out(complaint: Complaint) -> Obstacle:
    if complaint.code != KafkaError._TRANSPORT:
        return _BY_CODE.get(complaint.code, Obstacle.OTHER)
    if "refused" in complaint.text:
        return Obstacle.REFUSED
    if "timed out" in complaint.text:
        return Obstacle.SILENT
    # What comes of speaking TLS to a plain listener, or the other way round: librdkafka itself asks whether that is so.
    wrong = any(words in complaint.text for words in ("security.protocol", "listener?"))
    return Obstacle.PROTOCOL if wrong else Obstacle.OTHER


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
        obstacle, detail = obstacle_of(self._heard, waited)
        return NotReached(obstacle, f"{doing}{detail}")
