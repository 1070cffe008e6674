"""Everything between the servers and Kafka: delivery, sessions, shards and the watch of the topics."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bridge.clock import monotonic
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.daemon.guarantees import make_delivery
from bridge.daemon.kafka_probe import KafkaProbe
from bridge.daemon.source import Source
from bridge.daemon.stall import StallDetector
from bridge.daemon.supervisor import Supervisor
from bridge.daemon.topic_watch import NoTopicWatch, TopicWatch
from bridge.daemon.topics import Watch
from bridge.delivery.lease import Lease
from bridge.delivery.protocol import Delivery
from bridge.kafka.topics import TopicLimits
from bridge.observe.health import Heartbeats
from bridge.settings import Settings
from bridge.sharding.coordinator import ShardCoordinator

_LEAVE = 2.0
"""Seconds of ``drain_timeout`` that are kept for leaving the group."""
_CLOSE = 1.0
"""Seconds to wait for threads that hold nothing which could be lost."""

Join = Callable[[float], bool]
"""Waits until a deadline; returns whether the work ended."""


class Pipeline:
    """The parts of the daemon that need Kafka.

    Thread rule: the main thread; for snapshots the parts have their own rules.
    """

    def __init__(
        self,
        delivery: Delivery,
        supervisor: Supervisor,
        coordinator: ShardCoordinator,
        topics: TopicWatch | NoTopicWatch,
    ) -> None:
        self.delivery = delivery
        self.supervisor = supervisor
        self.coordinator = coordinator
        self.topics = topics
        self._probe = KafkaProbe(delivery)

    def start(self) -> None:
        """Start all threads."""
        self.delivery.last_answer = monotonic()
        self.delivery.start()
        self.supervisor.start()
        self.topics.start()
        self.coordinator.start()

    def tick(self) -> None:
        """One turn of the main loop. Raises what ended a thread."""
        self.raise_bug()
        self.coordinator.tick()
        self.supervisor.tick()
        self._probe.check()

    @property
    def is_urgent(self) -> bool:
        """Whether the next tick should come soon: another replica waits for a shard, or sessions wait to start."""
        return self.coordinator.is_leaving or self.supervisor.is_behind

    def raise_bug(self) -> None:
        """Raise what ended the delivery thread: without it events would be read and never delivered."""
        if self.delivery.bug is not None:
            raise self.delivery.bug

    def drain(self, deadline: float, wait: Callable[[Join, float], bool]) -> bool:
        """Stop the readers, deliver what they have read, write the last checkpoints. Returns whether all was delivered.

        ``wait(join, deadline)`` waits for one step; it may end early.
        """
        self.supervisor.stop()
        self.coordinator.stop(deadline - _LEAVE)
        has_left = wait(self.coordinator.join, deadline)
        self.delivery.stop()
        is_delivered = wait(self.delivery.join, deadline) and not self.coordinator.left_undelivered
        if not has_left:
            self.coordinator.abort()
        if not is_delivered:
            self.delivery.abort()
        self.coordinator.close(monotonic() + _CLOSE)
        self.topics.stop()
        self.topics.join(monotonic() + _CLOSE)
        return is_delivered

    def abort(self) -> None:
        """Hand nothing more to Kafka and leave the group; what is not delivered is read again at the next start."""
        self.supervisor.stop()
        self.coordinator.leave(monotonic() + _LEAVE)
        self.delivery.abort()


def make_pipeline(  # noqa: PLR0913, PLR0917 - what the parts are made of, given once
    settings: Settings,
    limits: TopicLimits,
    sources: Mapping[str, Source],
    heartbeats: Heartbeats,
    watch: Watch,
    wake: Callable[[], None],
) -> Pipeline:
    """Put the parts together once the topics are prepared; ``wake`` wakes the main thread."""
    stall_detector, count = StallDetector(), limits.checkpoint_partitions

    def heartbeat() -> None:
        heartbeats.record("delivery")
        stall_detector.heartbeat()

    def reclaim(
        lease: Lease,
    ) -> Mapping[SessionKey, Checkpoint]:  # called by a delivery thread, once all parts are there
        return coordinator.reclaim(lease)

    delivery = make_delivery(settings, count, limits.sizes, reclaim, heartbeat)
    supervisor = Supervisor(sources, count, delivery, stall_detector, wake)
    coordinator = ShardCoordinator.of(settings, count, delivery, supervisor.shards, heartbeats.record, wake)
    topics = watch(settings, limits, coordinator)
    return Pipeline(delivery, supervisor, coordinator, topics)
