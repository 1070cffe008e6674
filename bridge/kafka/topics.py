"""The topics: what they must be like, what is there, and creating what is missing.

The rules are pure (``plan``, ``examine``); `TopicAdmin` asks and creates. An existing topic is checked, never altered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from bridge.errors import Mistake, SettingsError, Unreachable
from bridge.kafka.config import admin_client, unreachable
from bridge.kafka.connection_failures import Complaints
from bridge.kafka.errors import error_of, in_words
from bridge.settings.model import Settings

_TIMEOUT = 10.0
_LOOK = 3.0
"""Seconds for the first question to Kafka: only between two is a signal heard, or the start budget looked at."""
_BROKER_LIMIT = 1_048_588
"""A broker's default ``max.message.bytes``."""
_BATCH_OVERHEAD = 8 * 1024
"""What a batch holds beside one value: its header, the key, and headers that repeat the session and event names."""
_LIFECYCLE_BYTES = 16 * 1024
"""Room for any lifecycle record: 4 KiB, more with a session id of a thousand characters that are no letters."""
_LIFECYCLE, _CHECKPOINTS = "topics.lifecycle", "topics.checkpoints"

CHECKPOINTS_CONFIG: Mapping[str, str] = {
    "cleanup.policy": "compact",
    # A position that is overwritten stays readable for a while: a slow or late reader meets every word about a session.
    "min.compaction.lag.ms": "600000",
    # The active segment is never compacted, and every start reads the whole topic: small segments keep that short.
    "segment.bytes": "67108864",
}


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """One topic the bridge needs, and how it is created if it is missing."""

    key: str
    """The setting that names it."""
    name: str
    partitions: int
    replication_factor: int | None
    config: Mapping[str, str]
    compacted: bool
    fixed: bool = False
    """``partitions`` is somebody's word and no default: a topic that has others is not the one that was meant."""


@dataclass(frozen=True, slots=True)
class Found:
    """One topic as it is. ``config`` is None where the bridge may not look."""

    partitions: int
    config: Mapping[str, str] | None

    @property
    def max_message_bytes(self) -> int:
        """The largest batch the topic takes; the broker's default where the bridge may not look."""
        return int((self.config or {}).get("max.message.bytes", _BROKER_LIMIT))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with an existing topic: mistakes stop a start, warnings are said."""

    mistakes: tuple[Mistake, ...] = ()
    warnings: tuple[Mistake, ...] = ()


def plan(settings: Settings) -> tuple[TopicPlan, ...]:
    """Every topic these settings need, each once."""
    topics = settings.topics
    replication = topics.replication_factor
    needed = settings.events.max_bytes + _BATCH_OVERHEAD
    # The checkpoints topic too: one limit holds for all that the producers send, the smallest of all topics.
    size = {"max.message.bytes": str(needed)} if needed > _BROKER_LIMIT else {}
    compacted, config = {**CHECKPOINTS_CONFIG, **size}, size | topics.config
    named = {f"topics.{key}": getattr(topics, key) for key in ("events", "dead_letters", "lifecycle")}
    named |= {f"topics.routes[{index}].topic": route.topic for index, route in enumerate(topics.routes)}
    once = {name: key for key, name in reversed(named.items())}
    data = [TopicPlan(key, name, topics.partitions, replication, config, compacted=False) for name, key in once.items()]
    shards_are_given = "shards" in topics.model_fields_set
    checkpoints = TopicPlan(
        _CHECKPOINTS, topics.checkpoints, topics.shards, replication, compacted, compacted=True, fixed=shards_are_given
    )
    return (checkpoints, *reversed(data))


def examine(planned: TopicPlan, found: Found, needed_bytes: int) -> Verdict:
    """Compare a topic that exists with what the bridge needs of it."""
    by_settings = _settings_verdict(planned, found, needed_bytes)
    if by_settings.mistakes:  # it is another kind of topic: how many partitions it has is beside the point
        return by_settings
    by_count = _shards_verdict(planned, found.partitions)
    return Verdict(by_count.mistakes, by_settings.warnings + by_count.warnings)


def _shards_verdict(planned: TopicPlan, partitions: int) -> Verdict:
    if planned.key != _CHECKPOINTS or partitions == planned.partitions:
        return Verdict()
    has = f"topic {planned.name} has {counted(partitions)}, and topics.shards is {planned.partitions}"
    if planned.fixed:
        text = f"{has}: the number is fixed once the topic is in use; set topics.shards = {partitions}, or {_MOVE}"
        return Verdict((Mistake(planned.key, text),))
    text = f"{has} by default: the topic counts; set topics.shards = {partitions} to say so"
    return Verdict(warnings=(Mistake(planned.key, text),))


_MOVE = (
    "move the positions: stop all bridges of the namespace, `mix-bridge checkpoints export --output FILE`, name a new"
    " topic with topics.checkpoints and its partitions with topics.shards, `mix-bridge checkpoints import FILE`"
)


def counted(partitions: int) -> str:
    """In words."""
    return "1 partition" if partitions == 1 else f"{partitions} partitions"


def _settings_verdict(planned: TopicPlan, found: Found, needed_bytes: int) -> Verdict:
    if found.config is None:
        what = "whether it is compacted" if planned.compacted else "its settings"
        text = f"topic {planned.name}: not allowed to see {what} (grant DescribeConfigs on it)"
        return Verdict(warnings=(Mistake(planned.key, text),))
    policy = {part.strip() for part in found.config.get("cleanup.policy", "delete").split(",")}
    if planned.compacted and policy != {"compact"}:
        return Verdict((_policy_mistake(planned, found.config, "must be exactly compact, or positions are lost"),))
    if not planned.compacted and "compact" in policy:
        lost = "lifecycle records" if planned.key == _LIFECYCLE else "events"
        return Verdict((_policy_mistake(planned, found.config, f"may not be compacted, or {lost} are lost"),))
    return _size_verdict(planned, found.max_message_bytes, needed_bytes)


def _size_verdict(planned: TopicPlan, limit: int, needed_bytes: int) -> Verdict:
    takes = f"topic {planned.name} takes at most max.message.bytes={limit}, less than"
    if planned.key == _LIFECYCLE and limit < _LIFECYCLE_BYTES:
        text = f"{takes} a lifecycle record may need ({_LIFECYCLE_BYTES}); raise it, or name another topic"
        return Verdict((Mistake(planned.key, text),))
    if limit < needed_bytes:
        text = (
            f"{takes} events.max_bytes and its overhead ({needed_bytes}), and the smallest limit holds for all topics:"
            " larger events become dead letters; raise the one or lower the other"
        )
        return Verdict(warnings=(Mistake(planned.key, text),))
    return Verdict()


def _policy_mistake(planned: TopicPlan, config: Mapping[str, str], why: str) -> Mistake:
    wanted = "compact" if planned.compacted else "delete"
    return Mistake(
        planned.key,
        f"topic {planned.name} has cleanup.policy={config.get('cleanup.policy')}: it {why};"
        f" set cleanup.policy={wanted} on it, or name another topic",
    )


@dataclass(frozen=True, slots=True)
class TopicLimits:
    """What delivery must know of the topics."""

    checkpoint_partitions: int
    max_request_bytes: int
    """Below every topic's ``max.message.bytes``: a batch that is too large is refused whole."""
    warnings: tuple[Mistake, ...] = ()


def needed_bytes(settings: Settings) -> int:
    """The largest batch that one event can need."""
    return settings.events.max_bytes + _BATCH_OVERHEAD


class TopicAdmin:
    """Looks at topics and creates them. Thread rule: one thread."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._complaints = Complaints()
        self._admin: AdminClient = admin_client(dict(config) | {"error_cb": self._complaints.note})

    def describe(self, planned: Sequence[TopicPlan]) -> dict[str, Found]:
        """The planned topics that exist, by name; raises `Unreachable`."""
        try:
            known = self._admin.list_topics(timeout=_LOOK).topics
        except KafkaException as exception:
            self._admin.poll(0)  # the answer itself says no more than that there was none
            raise self._complaints.as_error(_LOOK, "Kafka: asking for the topics: ") from exception
        names = [each.name for each in planned if each.name in known and known[each.name].error is None]
        configs = self._configs(names)
        return {name: Found(len(known[name].partitions), configs[name]) for name in names}

    def create(self, missing: Iterable[TopicPlan]) -> None:
        """Create topics; one that somebody else created meanwhile is fine. Raises `SettingsError` or `Unreachable`."""
        wanted = {each.name: each for each in missing}
        if not wanted:
            return
        new = [
            NewTopic(each.name, each.partitions, each.replication_factor or -1, config=dict(each.config))
            for each in wanted.values()
        ]
        for name, future in self._admin.create_topics(new, request_timeout=_TIMEOUT).items():
            _created(wanted[name], future)

    def _configs(self, names: Sequence[str]) -> dict[str, Mapping[str, str] | None]:
        if not names:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        answers = self._admin.describe_configs(resources, request_timeout=_TIMEOUT)
        return {resource.name: config_of(future) for resource, future in answers.items()}


def config_of(future: Future[Any]) -> Mapping[str, str] | None:
    """The settings of a topic when Kafka answers; None where the bridge may not look. Raises `Unreachable`."""
    try:
        return {name: str(entry.value) for name, entry in future.result(_TIMEOUT).items()}
    except KafkaException as exception:
        error = error_of(exception)
        if error is not None and error.code() in _NOT_ALLOWED:
            return None
        raise unreachable("asking for a topic's settings", exception) from exception


_NOT_ALLOWED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})
_MAY_PASS = frozenset(
    {KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError.REQUEST_TIMED_OUT}
    | {KafkaError.NOT_CONTROLLER, KafkaError.INVALID_REPLICATION_FACTOR}  # brokers that are still starting
)


def _created(planned: TopicPlan, future: Future[Any]) -> None:
    try:
        future.result(_TIMEOUT)
    except KafkaException as exception:
        error = error_of(exception)
        if error is None or error.code() in _MAY_PASS:
            raise unreachable(f"creating topic {planned.name}", exception) from exception
        if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise SettingsError.of(planned.key, f"cannot create topic {planned.name}: {in_words(error)}") from exception


def prepare(settings: Settings, admin: TopicAdmin) -> TopicLimits:
    """Create what is missing, check what is there; raises `SettingsError` with every mistake, or `Unreachable`."""
    planned = plan(settings)
    found = admin.describe(planned)
    missing = [each for each in planned if each.name not in found]
    warnings = tuple(_positions_lost(each) for each in missing if each.compacted and found)
    if missing and not settings.topics.create:
        raise SettingsError(
            [
                Mistake(each.key, f"topic {each.name} does not exist and topics.create is false: create it")
                for each in missing
            ]
        )
    if missing:
        admin.create(missing)
        found = admin.describe(planned)
        if unseen := [each.name for each in planned if each.name not in found]:
            raise Unreachable(f"Kafka: created, but not yet to be seen: {', '.join(unseen)}")
    judged = ground(settings, planned, found)
    return replace(judged, warnings=(*warnings, *judged.warnings))


def _positions_lost(planned: TopicPlan) -> Mistake:
    text = (
        f"topic {planned.name} was created, though other topics of the bridge were there already: unless this is the"
        " first start, all positions are lost, and every session begins again at start_after_id in a new epoch"
    )
    return Mistake(planned.key, text)


def ground(settings: Settings, planned: Sequence[TopicPlan], found: Mapping[str, Found]) -> TopicLimits:
    """Judge the topics that are there."""
    verdicts = [examine(each, found[each.name], needed_bytes(settings)) for each in planned]
    if mistakes := [mistake for verdict in verdicts for mistake in verdict.mistakes]:
        raise SettingsError(mistakes)
    return TopicLimits(
        checkpoint_partitions=found[settings.topics.checkpoints].partitions,
        max_request_bytes=min(each.max_message_bytes for each in found.values()),
        warnings=tuple(warning for verdict in verdicts for warning in verdict.warnings),
    )
