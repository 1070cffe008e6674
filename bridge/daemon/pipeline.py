"""Everything between the servers and Kafka: delivery, sessions, shards and the watch of the topics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.durations import Durations
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.daemon.capacity import Capacity, Reserve
from bridge.daemon.forgetting import Forgetting
from bridge.daemon.source import Source
from bridge.daemon.stall import StallDetector
from bridge.daemon.supervisor import Supervisor
from bridge.daemon.topics import Followers, TopicWatch, Watch
from bridge.delivery.at_least_once import AtLeastOnce
from bridge.delivery.checkpoint_writer import OwnTopics
from bridge.delivery.exactly_once import ExactlyOnce
from bridge.delivery.lease import Lease
from bridge.delivery.producers import Ids, TopicIds
from bridge.delivery.protocol import Limits, Reclaim
from bridge.errors import BridgeError
from bridge.kafka.client_properties import ClientProperties
from bridge.kafka.producer import IdempotentProducer, ProducerSettings, Role
from bridge.kafka.statistics import ProducerStatistics
from bridge.kafka.topic_admin import TopicAdmin
from bridge.kafka.topics import TopicLimits, plan
from bridge.kafka.transactional import TransactionalProducer
from bridge.observe.health import KAFKA_LIMIT, Heartbeats
from bridge.settings import Settings
from bridge.settings.naming import transactional_id
from bridge.sharding.claims import ForgetWriter
from bridge.sharding.collaborators import reclaim
from bridge.sharding.coordinator import ShardCoordinator

log = get_logger("bridge.daemon")

_PROBE_AFTER = 3.0
"""Seconds without an answer after which Kafka is asked: ``/readyz`` needs an answer every 10 s."""
_PROBE_TIMEOUT = 1.0
_LEAVE = 2.0
"""Seconds of ``drain_timeout`` that are kept for leaving the group."""
_CLOSE = 1.0
"""Seconds to wait for threads that hold nothing which could be lost."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """What delivery and shards measure for the metrics. Thread rule: any thread."""

    durations: Durations
    producers: ProducerStatistics = field(default_factory=ProducerStatistics)


Delivery = AtLeastOnce | ExactlyOnce
Join = Callable[[float], bool]
"""Waits until a deadline; returns whether the work ended."""


@dataclass(eq=False)
class Pipeline:
    """The parts of the daemon that need Kafka.

    Thread rule: the main thread; for snapshots the parts have their own rules.
    """

    delivery: Delivery
    supervisor: Supervisor
    coordinator: ShardCoordinator
    topics: TopicWatch | None
    measurements: Measurements
    forgetting: Forgetting
    _is_kafka_silent: bool = False

    def start(self) -> None:
        self.delivery.answers.note()
        self.delivery.start()
        self.supervisor.start()
        if self.topics is not None:
            self.topics.start()
        self.coordinator.start()

    def tick(self) -> None:
        self.raise_bug()
        self.coordinator.tick()
        self.supervisor.tick()
        self.forgetting.tick()
        self._check_kafka()

    def _check_kafka(self) -> None:
        """Ask Kafka for the checkpoints topic if its last answer is old; log a change between silent and answering."""
        if self._silence() > _PROBE_AFTER:
            self.delivery.answers.ask(_PROBE_TIMEOUT)
        silence = self._silence()
        if (silence > KAFKA_LIMIT) == self._is_kafka_silent:
            return
        self._is_kafka_silent = not self._is_kafka_silent
        if self._is_kafka_silent:
            log.warning(
                "Kafka does not answer: events wait in memory, delivery is retried for ever", silent_for=silence
            )
        else:
            log.info("Kafka answers again")

    def _silence(self) -> float:
        last = self.delivery.answers.last
        return 0.0 if last is None else monotonic() - last

    @property
    def is_urgent(self) -> bool:
        """Whether the next tick should come soon: another replica waits for a shard, or sessions wait to start."""
        return self.coordinator.is_leaving or self.supervisor.is_behind

    def renew_clients(self) -> None:
        """Replace all Kafka clients, with the certificates as they are now; what is not delivered is sent again."""
        self.delivery.renew_clients("the certificates or properties of Kafka's clients were changed")
        self.coordinator.renew_clients()
        if self.topics is not None:
            self.topics.renew_clients()

    def raise_bug(self) -> None:
        """Raise what ended the delivery thread: without it events would be read and never delivered."""
        if self.delivery.bug is not None:
            raise self.delivery.bug

    def drain(self, deadline: float, wait: Callable[[Join, float], bool]) -> bool:
        """Stop the readers, deliver what they have read, write the last checkpoints. Returns whether all was delivered.

        ``wait(join, deadline)`` waits for one step; it may end early. Raises what ended a thread of delivery, also when
        nothing is left to deliver: a process with a bug does not end as if all were well.
        """
        self.supervisor.stop()
        self.forgetting.close()
        self.coordinator.stop(deadline - _LEAVE)
        has_left = wait(self.coordinator.join, deadline)
        self.delivery.stop()
        is_delivered = wait(self.delivery.join, deadline) and not self.coordinator.left_undelivered
        self.raise_bug()
        if not is_delivered:
            self.delivery.abort()
        self.coordinator.close(monotonic() + _CLOSE, has_left=has_left)
        if self.topics is not None:
            self.topics.stop()
            self.topics.join(monotonic() + _CLOSE)
        return is_delivered

    def abort(self) -> None:
        """Hand nothing more to Kafka and leave the group; what is not delivered is read again at the next start."""
        self.supervisor.stop()
        self.forgetting.close()
        self.coordinator.leave(monotonic() + _LEAVE)
        self.delivery.abort()


def make_pipeline(  # noqa: PLR0913, PLR0917 - what the parts are made of, given once
    settings: Settings,
    clients: ClientProperties,
    limits: TopicLimits,
    sources: Mapping[str, Source],
    heartbeats: Heartbeats,
    watch: Watch,
    wake: Callable[[], None],
) -> Pipeline:
    """Put the parts together once the topics are prepared; ``wake`` wakes the main thread."""
    for source in sources.values():
        source.sizes = limits.sizes
    stall_detector, count = StallDetector(), limits.checkpoint_partitions
    measurements = Measurements(Durations(settings.servers))

    def heartbeat() -> None:
        heartbeats.record("delivery")
        stall_detector.heartbeat()

    def reclaim_shard(lease: Lease) -> Mapping[SessionKey, Checkpoint]:
        return reclaim(lease, coordinator.collaborators)  # called by a delivery thread, once all parts are there

    delivery = make_delivery(settings, clients, limits, reclaim_shard, heartbeat, measurements)
    capacity = Capacity(Reserve.of(settings, count, limits.brokers))
    capacity.fit.require()
    supervisor = Supervisor(sources, count, delivery, stall_detector, wake, capacity)
    coordinator = ShardCoordinator.of(
        settings, clients, count, delivery, supervisor.shards, heartbeats.record, wake, measurements.durations
    )
    followers = Followers(delivery.renew_clients, coordinator.rewrite_checkpoints, coordinator.cluster_changed)
    topics = watch(settings, clients, limits, followers)
    forget_writer = ForgetWriter(clients.of("mix-bridge"), settings.topics.checkpoints)
    forgetting = Forgetting(settings.servers, supervisor.shards, supervisor.is_over, forget_writer)
    return Pipeline(delivery, supervisor, coordinator, topics, measurements, forgetting)


def make_delivery(  # noqa: PLR0913, PLR0917 - as make_pipeline
    settings: Settings,
    clients: ClientProperties,
    limits: TopicLimits,
    reclaim: Reclaim,
    heartbeat: Callable[[], None],
    measurements: Measurements,
) -> Delivery:
    """``limits``: of the topics; its ``sizes`` follow them."""
    topics, delivery, sizes = settings.topics, settings.delivery, limits.sizes
    own = OwnTopics(topics.checkpoints, limits.checkpoint_partitions, topics.lifecycle, limits.counts)
    config = clients.of("mix-bridge", compression_type=settings.kafka.compression)

    durations, reporting = measurements.durations, measurements.producers.properties

    def make(role: Role) -> IdempotentProducer:
        of_role = reporting(role.value) | config if role is Role.EVENTS else config  # the others are polled seldom
        return IdempotentProducer(ProducerSettings(of_role, sizes.batch_size, sizes.largest), role)

    bounds = Limits(
        delivery.max_in_flight,
        delivery.max_buffer_bytes,
        delivery.checkpoint_interval,
        delivery.transaction_interval,
    )
    if delivery.guarantee == "at_least_once":
        topic_ids = TopicIds(limits.ids, lambda: _topic_ids(settings, clients))
        return AtLeastOnce(make, own, sizes, topic_ids, bounds, heartbeat, durations)

    def make_transactional(shard: int) -> TransactionalProducer:
        name = transactional_id(settings.namespace, shard)
        of_shard = ProducerSettings(reporting("shards") | config, sizes.batch_size, sizes.largest)
        return TransactionalProducer(of_shard, name, bounds.timeouts, durations.commit)

    return ExactlyOnce(
        make_transactional,
        lambda: make(Role.CHECKPOINTS),
        own,
        sizes,
        bounds,
        reclaim,
        heartbeat,
        durations,
    )


def _topic_ids(settings: Settings, clients: ClientProperties) -> Ids | None:
    """The topics' ids now; None when Kafka does not answer. Asked after a fatal error only, by a new client."""
    try:
        found = TopicAdmin(clients.of("mix-bridge")).describe(plan(settings))
    except BridgeError:
        return None
    return {name: topic.topic_id for name, topic in found.items() if topic is not None}
