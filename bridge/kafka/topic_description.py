"""Looks at the topics of a running bridge: what they are now, and whether they are still the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType, TopicDescription

from bridge.errors import Unreachable
from bridge.kafka.config import admin_client, unreachable
from bridge.kafka.errors import error_of
from bridge.kafka.topics import Found, TopicAdmin, TopicPlan, config_of

_TIMEOUT = 5.0
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
"""What brokers older than topic ids say."""


@dataclass(frozen=True, slots=True)
class TopicSeen:
    """One topic at one moment."""

    topic_id: str | None
    """A topic that was deleted and created again has another; None where the brokers know none."""
    found: Found
    without_leader: int = 0
    """Partitions that nobody leads: what belongs there waits."""
    short_of_replicas: int = 0
    """Partitions with fewer replicas in step than ``min.insync.replicas``: Kafka takes nothing there."""


class TopicLook:
    """Asks one cluster. Thread rule: one thread, which may block for as long as ``_TIMEOUT``, twice."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Raises ``SettingsError``."""
        self._config = dict(config)
        self._admin: AdminClient = admin_client(self._config)

    def __call__(self, planned: Sequence[TopicPlan]) -> dict[str, TopicSeen | None]:
        """The topics by name, None for one that does not exist; without those that may not be seen.

        Raises ``Unreachable``.
        """
        described = dict(self._described([each.name for each in planned]))
        configs = self._configs([name for name, topic in described.items() if topic is not None])
        return {
            name: None if topic is None or name not in configs else _seen(topic, configs[name])
            for name, topic in described.items()
        }

    def create(self, missing: Sequence[TopicPlan]) -> None:
        """Create topics as planned; raises as ``TopicAdmin.create``."""
        TopicAdmin(self._config).create(missing)

    def _described(self, names: Sequence[str]) -> Iterator[tuple[str, TopicDescription | None]]:
        # Unlike metadata of one topic, this never has a broker create it.
        answers: Mapping[str, Future[Any]] = self._admin.describe_topics(
            TopicCollection(list(names)), request_timeout=_TIMEOUT
        )
        for name, answer in answers.items():
            try:
                yield name, answer.result(_TIMEOUT)
            except NoAnswer as error:
                raise Unreachable(f"Kafka: no answer about topic {name}") from error
            except KafkaException as exception:
                code = _code(exception)
                if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    continue
                if code != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise unreachable(f"asking for topic {name}", exception) from exception
                yield name, None

    def _configs(self, names: Sequence[str]) -> dict[str, Mapping[str, str] | None]:
        """Without a topic that was deleted a moment after it was described."""
        if not names:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        answers = self._admin.describe_configs(resources, request_timeout=_TIMEOUT)
        configs: dict[str, Mapping[str, str] | None] = {}
        for resource, answer in answers.items():
            try:
                configs[resource.name] = config_of(answer)
            except NoAnswer as error:
                raise Unreachable(f"Kafka: no answer about the settings of {resource.name}") from error
            except Unreachable as error:
                if _code(error.__cause__) != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
        return configs


def _code(exception: BaseException | None) -> int | None:
    error = None if exception is None else error_of(exception)
    return None if error is None else error.code()


def _seen(topic: TopicDescription, config: Mapping[str, str] | None) -> TopicSeen:
    topic_id = str(topic.topic_id)
    wanted = int((config or {}).get("min.insync.replicas", 1))
    led = [each for each in topic.partitions if each.leader is not None]
    return TopicSeen(
        None if topic_id == _NO_ID else topic_id,
        Found(len(topic.partitions), config),
        without_leader=len(topic.partitions) - len(led),
        # Since Kafka 4 a topic of one replica is never short of the second that its settings ask for.
        short_of_replicas=sum(len(each.isr) < min(wanted, len(each.replicas)) for each in led),
    )
