"""Describes topics and creates missing ones.

An existing topic is checked and never altered, except for a checkpoints topic that another program created again while
the bridge runs (`TopicAdmin.repair`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)
from confluent_kafka.admin import TopicDescription as ClientDescription
from structlog.stdlib import get_logger

from bridge.errors import Mistake, SettingsError, Unreachable
from bridge.kafka.brokers import unreachable_brokers
from bridge.kafka.config import admin_client, answer_of, follow, plain, unreachable
from bridge.kafka.connection_failures import ClientErrors, ConnectionFailure, NotReached, cluster_metadata
from bridge.kafka.errors import code_of, error_of, in_words
from bridge.kafka.topics import TopicDescription, TopicLimits, TopicPlan, limits_of, plan
from bridge.settings.model import Settings

log = get_logger("bridge.kafka")

_TIMEOUT = 10.0
_DESCRIBE = 3.0
"""Seconds for the first request to Kafka: a signal and the start budget are checked only between two requests."""
_DESCRIBING = "Kafka: describing the topics: "
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
"""The topic id that brokers without topic ids return."""


class TopicAdmin:
    """Describes and creates topics of one cluster. Thread rule: one thread, which may block for 13 s."""

    def __init__(self, config: Mapping[str, Any], timeout: float = _DESCRIBE) -> None:
        """``timeout``: seconds for one request that describes topics. Raises ``SettingsError``."""
        self._timeout = timeout
        self._errors = ClientErrors(config, "admin")
        self._config = config
        self._admin: AdminClient
        self.renew()

    def renew(self) -> None:
        """Use a new client, with the certificates as they are now."""
        config = plain(self._config) | {"error_cb": self._errors.note}
        self._admin = admin_client(config, self._errors)
        follow(self._config, self, config)

    def set_credentials(self, username: str, password: str) -> None:
        """Use these at the next authentication (any thread)."""
        self._admin.set_sasl_credentials(username, password)

    def brokers(self) -> int:
        """Return how many brokers the cluster has. Raises ``NotReached``."""
        try:
            return len(cluster_metadata(self._admin, self._errors, self._timeout).brokers)
        except NotReached as failure:
            raise self._explained(failure, "") from failure

    def cluster_id(self) -> str | None:
        """Return the id of the cluster that answers; None: the brokers have none. Raises ``Unreachable``."""
        try:
            found = answer_of(self._admin.describe_cluster(request_timeout=self._timeout), self._timeout)
        except KafkaException as exception:
            raise unreachable("asking for the cluster's id", exception) from exception
        return None if found.cluster_id is None else str(found.cluster_id)

    def unreachable_brokers(self) -> tuple[str, ...]:
        """Return one line for each broker whose advertised address cannot be reached; nothing without an answer."""
        return unreachable_brokers(plain(self._config))

    def _explained(self, failure: NotReached, doing: str) -> NotReached:
        """Name the advertised addresses that are silent: the client reports them only after 30 s."""
        is_silent = failure.connection_failure is ConnectionFailure.SILENT
        lines = self.unreachable_brokers() if is_silent else ()
        return NotReached(ConnectionFailure.ADVERTISED, doing + "; ".join(lines)) if lines else failure

    def describe(self, planned: Sequence[TopicPlan], *, operations: bool = False) -> dict[str, TopicDescription | None]:
        """Return the topics by name: None for a missing one, no entry for one that the bridge may not describe.

        ``operations``: also ask what the bridge is allowed. Raises ``Unreachable``.
        """
        self._errors.clear()
        found = dict(self._describe([each.name for each in planned], operations=operations))
        configs = self._configs([name for name, topic in found.items() if topic is not None])
        return {
            name: None if topic is None or name not in configs else _description(topic, configs[name])
            for name, topic in found.items()
        }

    def existing(self, planned: Sequence[TopicPlan]) -> dict[str, TopicDescription]:
        """Return the topics that exist, by name. Raises ``Unreachable``."""
        return {name: topic for name, topic in self.describe(planned).items() if topic is not None}

    def create(self, missing: Iterable[TopicPlan]) -> None:
        """Create topics; one that was created meanwhile is fine. Raises ``SettingsError``, ``Unreachable``."""
        for planned, future in self._create(missing, validate_only=False):
            _await(future, planned, "create", "creating", fine=KafkaError.TOPIC_ALREADY_EXISTS)

    def repair(self, planned: TopicPlan, has: int, partitions: int) -> None:
        """Give an existing topic the planned settings, and ``partitions`` instead of the fewer ones that it ``has``.

        Raises ``SettingsError``, ``Unreachable``.
        """
        entries = [ConfigEntry(*each, incremental_operation=AlterConfigOpType.SET) for each in planned.config.items()]
        resource = ConfigResource(ResourceType.TOPIC, planned.name, incremental_configs=entries)
        answers = [*self._admin.incremental_alter_configs([resource], request_timeout=_TIMEOUT).values()]
        if has < partitions:
            more = [NewPartitions(planned.name, partitions)]
            answers += self._admin.create_partitions(more, request_timeout=_TIMEOUT).values()
        for future in answers:
            _await(future, planned, "repair", "repairing")

    def objections(self, missing: Iterable[TopicPlan]) -> dict[str, str]:
        """Return, by topic, why Kafka would refuse to create it; create nothing."""
        objections = {}
        for planned, future in self._create(missing, validate_only=True):
            try:
                answer_of(future, _TIMEOUT)
            except KafkaException as exception:
                error = error_of(exception)
                objections[planned.name] = in_words(error) if error else str(exception)
        return objections

    def _create(self, missing: Iterable[TopicPlan], *, validate_only: bool) -> Iterator[tuple[TopicPlan, Future[Any]]]:
        planned = {each.name: each for each in missing}
        new = [
            NewTopic(each.name, each.partitions, each.replication_factor or -1, config=dict(each.config))
            for each in planned.values()
        ]
        answers = self._admin.create_topics(new, validate_only=validate_only, request_timeout=_TIMEOUT) if new else {}
        for name, future in answers.items():
            yield planned[name], future

    def _describe(self, names: Sequence[str], *, operations: bool) -> Iterator[tuple[str, ClientDescription | None]]:
        # Unlike metadata of one topic, this request never makes a broker create the topic.
        answers: Mapping[str, Future[Any]] = self._admin.describe_topics(
            TopicCollection(list(names)), include_authorized_operations=operations, request_timeout=self._timeout
        )
        for name, future in answers.items():
            try:
                yield name, answer_of(future, self._timeout)
            except KafkaException as exception:
                code = code_of(exception)
                if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    continue
                if code != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise self._not_described(name, exception) from exception
                yield name, None

    def _not_described(self, name: str, exception: KafkaException) -> Unreachable:
        if code_of(exception) not in {KafkaError._TIMED_OUT, KafkaError._TRANSPORT}:
            return unreachable(f"describing topic {name}", exception)
        self._admin.poll(0)  # the answer itself only says that there was none; this calls back with the reasons
        return self._explained(self._errors.as_error(self._timeout, _DESCRIBING), _DESCRIBING)

    def _configs(self, names: Sequence[str]) -> dict[str, Mapping[str, str] | None]:
        """Return the settings of topics, without a topic that was deleted a moment after it was described."""
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        answers = self._admin.describe_configs(resources, request_timeout=_TIMEOUT) if resources else {}
        configs: dict[str, Mapping[str, str] | None] = {}
        for resource, future in answers.items():
            try:
                configs[resource.name] = {key: str(entry.value) for key, entry in answer_of(future, _TIMEOUT).items()}
            except KafkaException as exception:
                code = code_of(exception)
                if code in _NOT_ALLOWED:
                    configs[resource.name] = None
                elif code != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise unreachable(f"asking for the settings of topic {resource.name}", exception) from exception
        return configs


_NOT_ALLOWED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})
_TEMPORARY = frozenset(
    {KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError.REQUEST_TIMED_OUT}
    | {KafkaError.NOT_CONTROLLER, KafkaError.INVALID_REPLICATION_FACTOR}  # brokers that are still starting
)


def _await(future: Future[Any], planned: TopicPlan, verb: str, doing: str, *, fine: int | None = None) -> None:
    """Wait until Kafka has answered; an error with the code ``fine`` is no failure.

    Raises ``Unreachable`` for what passes by itself, ``SettingsError`` for a refusal.
    """
    try:
        answer_of(future, _TIMEOUT)
    except KafkaException as exception:
        error = error_of(exception)
        if error is None or error.code() in _TEMPORARY:
            raise unreachable(f"{doing} topic {planned.name}", exception) from exception
        if error.code() != fine:
            text = f"cannot {verb} topic {planned.name}: {in_words(error)}"
            raise SettingsError.of(planned.key, text) from exception


def _description(topic: ClientDescription, config: Mapping[str, str] | None) -> TopicDescription:
    topic_id, allowed = str(topic.topic_id), topic.authorized_operations
    min_isr = int((config or {}).get("min.insync.replicas", 1))
    led = [each for each in topic.partitions if each.leader is not None]
    return TopicDescription(
        len(topic.partitions),
        config,
        None if topic_id == _NO_ID else topic_id,
        without_leader=len(topic.partitions) - len(led),
        # Since Kafka 4 a topic with one replica accepts records although its settings demand two replicas in sync.
        under_min_isr=sum(len(each.isr) < min(min_isr, len(each.replicas)) for each in led),
        operations=None if allowed is None else frozenset(each.name for each in allowed),
    )


def prepare(settings: Settings, admin: TopicAdmin) -> TopicLimits:
    """Create missing topics and check existing ones. Raises ``SettingsError`` with all mistakes, ``Unreachable``."""
    planned = plan(settings)
    found = admin.describe(planned)
    if hidden := [each for each in planned if each.name not in found]:
        text = "not allowed to describe topic {}; grant Describe on it to the bridge's user, or name another topic"
        raise SettingsError([Mistake(each.key, text.format(each.name)) for each in hidden])
    missing = [each for each in planned if found[each.name] is None]
    if missing and not settings.topics.create:
        text = "topic {} does not exist and topics.create is false: create it"
        raise SettingsError([Mistake(each.key, text.format(each.name)) for each in missing])
    admin.create(missing)
    if len(missing) < len(planned):
        _warn_of_lost_positions(missing)  # now: an attempt that fails later is repeated, and finds the topic
    topics = admin.existing(planned) if missing else {name: topic for name, topic in found.items() if topic}
    if unseen := [each.name for each in planned if each.name not in topics]:
        raise Unreachable(f"Kafka: created, but not yet visible: {', '.join(unseen)}")
    return limits_of(settings, planned, topics)


def _warn_of_lost_positions(created: Iterable[TopicPlan]) -> None:
    for planned in created:
        if planned.compacted:
            warning = (
                f"topic {planned.name} was created, although other topics of the bridge existed already: unless this is"
                " the first start, all positions are lost, and every session starts again at start_after_id in a new"
                " epoch"
            )
            log.warning("topic", setting=planned.key, warning=warning)
