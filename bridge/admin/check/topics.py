"""Kafka as ``mix-bridge check`` sees it: it asks, and neither creates nor changes anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic

from bridge.clock import monotonic
from bridge.kafka.config import admin_client, unreachable
from bridge.kafka.connection_failures import Complaints
from bridge.kafka.errors import error_of, in_words
from bridge.kafka.topics import Found, TopicAdmin, TopicPlan

_ATTEMPT = 0.5
"""Seconds between two looks at what the client has met so far: nothing wakes the one that waits for metadata."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One topic as far as the bridge may see."""

    found: Found | None
    """None where it does not exist, or may not be seen."""
    hidden: bool = False
    """It may not be seen at all."""
    allowed: frozenset[str] | None = None
    """The operations Kafka allows the bridge on it, such as ``WRITE``; None where Kafka does not say."""
    objection: str | None = None
    """What Kafka says against creating it."""


class Survey:
    """Looks at one cluster. Thread rule: one thread."""

    def __init__(self, config: Mapping[str, Any], patience: float) -> None:
        """``patience``: seconds until a cluster that does not answer is given up. Raises ``SettingsError``."""
        self._complaints = Complaints()
        self._patience = patience
        self._config = dict(config) | {"error_cb": self._complaints.note}
        self._admin: AdminClient = admin_client(self._config)

    def brokers(self) -> int:
        """How many brokers answer for the cluster; raises `NotReached`."""
        end = monotonic() + self._patience
        while True:
            try:
                return len(self._admin.list_topics(timeout=_ATTEMPT).brokers)
            except KafkaException as exception:
                self._admin.poll(0)
                if self._complaints.all_were_tried or monotonic() > end:
                    raise self._complaints.as_error(self._patience) from exception

    def topics(self, planned: Sequence[TopicPlan], *, create: bool) -> dict[str, Seen]:
        """The planned topics by name; with ``create``, Kafka is asked whether it would create what is missing.

        Raises ``Unreachable``.
        """
        found = TopicAdmin(self._config).describe(planned)
        seen = {name: self._seen(name, future, found.get(name)) for name, future in self._described(planned).items()}
        missing = [each for each in planned if not (seen[each.name].found or seen[each.name].hidden)]
        if create and missing:
            seen |= {name: Seen(None, objection=objection) for name, objection in self._objections(missing)}
        return seen

    def _described(self, planned: Sequence[TopicPlan]) -> Mapping[str, Future[Any]]:
        """Unlike the metadata of one topic, this never has the broker create it."""
        names = TopicCollection([each.name for each in planned])
        described: Mapping[str, Future[Any]] = self._admin.describe_topics(
            names, include_authorized_operations=True, request_timeout=self._patience
        )
        return described

    def _seen(self, name: str, described: Future[Any], found: Found | None) -> Seen:
        try:
            operations = described.result(self._patience).authorized_operations
        except KafkaException as exception:
            error = error_of(exception)
            if error is None or error.code() not in _ABSENT:
                raise unreachable(f"asking for topic {name}", exception) from exception
            return Seen(None, hidden=error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED)
        return Seen(found, allowed=None if operations is None else frozenset(each.name for each in operations))

    def _objections(self, missing: Sequence[TopicPlan]) -> Iterator[tuple[str, str | None]]:
        new = [
            NewTopic(each.name, each.partitions, each.replication_factor or -1, config=dict(each.config))
            for each in missing
        ]
        answers = self._admin.create_topics(new, validate_only=True, request_timeout=self._patience)
        for name, future in answers.items():
            yield name, _objection(future, self._patience)


_ABSENT = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED})


def _objection(future: Future[Any], patience: float) -> str | None:
    try:
        future.result(patience)
    except KafkaException as exception:
        error = error_of(exception)
        return in_words(error) if error else str(exception)
    return None
