"""The topics of the bridge: which ones it needs, how they are described, and what is wrong with them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bridge.core.records.topics import DEFAULT_LIMIT, PartitionCounts, SizeLimits
from bridge.errors import Mistake, SettingsError
from bridge.settings.model import Settings

_BATCH_OVERHEAD = 8 * 1024
"""Bytes of a batch beside one value: its header, the key, and headers that repeat the session and event names."""
_LIFECYCLE_BYTES = 16 * 1024
"""Largest lifecycle record: 4 KiB, more with a session id of a thousand characters that are not ASCII."""
LIFECYCLE, CHECKPOINTS = "topics.lifecycle", "topics.checkpoints"

CHECKPOINTS_CONFIG: Mapping[str, str] = {
    "cleanup.policy": "compact",
    # An overwritten position stays readable for 10 minutes, so that a slow or late reader sees every checkpoint.
    "min.compaction.lag.ms": "600000",
    # The active segment is never compacted and every start reads the whole topic: small segments keep that short.
    "segment.bytes": "67108864",
    # The brokers' time: no clock of a bridge makes Kafka refuse a position, and a claim shows whether the clocks agree.
    "message.timestamp.type": "LogAppendTime",
}


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """One topic that the bridge needs, and how it is created if it is missing."""

    key: str
    """The setting that names it."""
    name: str
    partitions: int
    replication_factor: int | None
    config: Mapping[str, str]
    compacted: bool
    is_explicit: bool = False
    """The settings give ``partitions``: a topic with another number is not the one that was meant."""


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """One existing topic at one moment."""

    partitions: int
    config: Mapping[str, str] | None
    """None: the bridge may not read it."""
    topic_id: str | None = None
    """A topic that was deleted and created again has another id; None: the brokers have no topic ids."""
    without_leader: int = 0
    """Partitions without a leader: their records wait."""
    under_min_isr: int = 0
    """Partitions with fewer replicas in sync than ``min.insync.replicas``: Kafka accepts no record there."""
    operations: frozenset[str] | None = None
    """The operations that the bridge is allowed, such as ``WRITE``; None: not asked, or Kafka does not say."""

    @property
    def policies(self) -> frozenset[str]:
        """The parts of ``cleanup.policy``; the broker's default where the bridge may not read it."""
        return frozenset(part.strip() for part in (self.config or {}).get("cleanup.policy", "delete").split(","))

    @property
    def is_compacted(self) -> bool:
        """Whether Kafka removes records that a newer one of their key follows."""
        return "compact" in self.policies

    @property
    def max_message_bytes(self) -> int:
        """The largest batch that the topic accepts; the broker's default where the bridge may not read it."""
        return int((self.config or {}).get("max.message.bytes", DEFAULT_LIMIT))


@dataclass(frozen=True, slots=True)
class Problems:
    """The problems of an existing topic: mistakes prevent a start, warnings are logged."""

    mistakes: tuple[Mistake, ...] = ()
    warnings: tuple[Mistake, ...] = ()


@dataclass(frozen=True, slots=True)
class TopicLimits:
    """The limits of the topics, for delivery."""

    checkpoint_partitions: int
    sizes: SizeLimits
    """``max.message.bytes`` of each topic; the topic watch keeps it up to date."""
    warnings: tuple[Mistake, ...] = ()
    ids: Mapping[str, str | None] = field(default_factory=dict)
    """Topic ids by name; empty where topics are not described."""
    brokers: int = 1
    """Of the cluster: each client has a thread for each of them."""
    counts: PartitionCounts = field(default_factory=PartitionCounts)
    """The partitions of each topic; the topic watch keeps them up to date."""


def plan(settings: Settings) -> tuple[TopicPlan, ...]:
    """Return every topic that these settings need, each once."""
    topics = settings.topics
    replication = topics.replication_factor
    needed = needed_bytes(settings)
    # The checkpoints topic too: batches on the wire stay below the smallest limit of all topics.
    size = {"max.message.bytes": str(needed)} if needed > DEFAULT_LIMIT else {}
    compacted, config = {**CHECKPOINTS_CONFIG, **size}, size | topics.config
    keys = {f"topics.{key}": getattr(topics, key) for key in ("events", "dead_letters", "lifecycle")}
    keys |= {f"topics.routes[{index}].topic": route.topic for index, route in enumerate(topics.routes)}
    unique = {name: key for key, name in reversed(keys.items())}
    data = [
        TopicPlan(key, name, topics.partitions, replication, config, compacted=False) for name, key in unique.items()
    ]
    is_explicit = "shards" in topics.model_fields_set
    checkpoints = TopicPlan(
        CHECKPOINTS, topics.checkpoints, topics.shards, replication, compacted, compacted=True, is_explicit=is_explicit
    )
    return (checkpoints, *reversed(data))


def needed_bytes(settings: Settings) -> int:
    """Return the size of the largest batch that one event can need."""
    return settings.events.max_bytes + _BATCH_OVERHEAD


def examine(planned: TopicPlan, topic: TopicDescription, needed: int) -> Problems:
    """Compare an existing topic with what the bridge needs; ``needed``: see `needed_bytes`."""
    by_config = _config_problems(planned, topic, needed)
    if by_config.mistakes:  # the wrong topic: its number of partitions does not matter
        return by_config
    by_count = _shard_problems(planned, topic.partitions)
    return Problems(by_count.mistakes, by_config.warnings + by_count.warnings)


def limits_of(settings: Settings, planned: Sequence[TopicPlan], topics: Mapping[str, TopicDescription]) -> TopicLimits:
    """Return the limits of existing topics. Raises ``SettingsError`` with the mistakes of all of them."""
    problems = [examine(each, topics[each.name], needed_bytes(settings)) for each in planned]
    if mistakes := [mistake for each in problems for mistake in each.mistakes]:
        raise SettingsError(mistakes)
    return TopicLimits(
        checkpoint_partitions=topics[settings.topics.checkpoints].partitions,
        sizes=SizeLimits({name: each.max_message_bytes for name, each in topics.items()}),
        warnings=tuple(warning for each in problems for warning in each.warnings),
        ids={name: each.topic_id for name, each in topics.items()},
        counts=PartitionCounts({name: each.partitions for name, each in topics.items()}),
    )


def _shard_problems(planned: TopicPlan, partitions: int) -> Problems:
    if planned.key != CHECKPOINTS or partitions == planned.partitions:
        return Problems()
    count = "1 partition" if partitions == 1 else f"{partitions} partitions"
    has = f"topic {planned.name} has {count}, and topics.shards is {planned.partitions}"
    if planned.is_explicit:
        text = f"{has}: the number is fixed once the topic is in use; set topics.shards = {partitions}, or {_MOVE}"
        return Problems((Mistake(planned.key, text),))
    text = f"{has} by default: the bridge uses the topic's number; set topics.shards = {partitions}"
    return Problems(warnings=(Mistake(planned.key, text),))


_MOVE = (
    "move the positions: stop all bridges of the namespace, `mix-bridge checkpoints export --output FILE`, name a new"
    " topic with topics.checkpoints and its partitions with topics.shards, `mix-bridge checkpoints import FILE`"
)


def _config_problems(planned: TopicPlan, topic: TopicDescription, needed: int) -> Problems:
    if topic.config is None:
        what = "whether it is compacted" if planned.compacted else "its settings"
        text = f"topic {planned.name}: not allowed to see {what} (grant DescribeConfigs on it)"
        return Problems(warnings=(Mistake(planned.key, text),))
    if planned.compacted and topic.policies != {"compact"}:
        return _policy_problem(planned, topic.config, "must be exactly compact, or positions are lost")
    if not planned.compacted and topic.is_compacted:
        lost = "lifecycle records" if planned.key == LIFECYCLE else "events"
        return _policy_problem(planned, topic.config, f"may not be compacted, or {lost} are lost")
    return _size_problems(planned, topic.max_message_bytes, needed)


def _policy_problem(planned: TopicPlan, config: Mapping[str, str], why: str) -> Problems:
    text = (
        f"topic {planned.name} has cleanup.policy={config.get('cleanup.policy')}: it {why};"
        f" set cleanup.policy={cleanup_policy(planned)} on it, or name another topic"
    )
    return Problems((Mistake(planned.key, text),))


def cleanup_policy(planned: TopicPlan) -> str:
    """Return the ``cleanup.policy`` that the topic must have."""
    return "compact" if planned.compacted else "delete"


def _size_problems(planned: TopicPlan, limit: int, needed: int) -> Problems:
    accepts = f"topic {planned.name} accepts at most max.message.bytes={limit}, less than"
    if planned.key == LIFECYCLE and limit < _LIFECYCLE_BYTES:
        text = f"{accepts} a lifecycle record may need ({_LIFECYCLE_BYTES}); raise it, or name another topic"
        return Problems((Mistake(planned.key, text),))
    if limit < needed and not (planned.compacted and limit >= _LIFECYCLE_BYTES):
        text = (
            f"{accepts} events.max_bytes and its overhead ({needed}): larger events for this topic become dead"
            " letters; raise max.message.bytes on the topic, or lower events.max_bytes"
        )
        return Problems(warnings=(Mistake(planned.key, text),))
    return Problems()
