"""Delivery with the guarantee that the settings ask for: chosen once, here."""

from __future__ import annotations

from collections.abc import Callable

from bridge.core.records.sizes import SizeLimits
from bridge.delivery import at_least_once, exactly_once
from bridge.delivery.at_least_once import AtLeastOnce
from bridge.delivery.checkpoint_writer import OwnTopics
from bridge.delivery.exactly_once import ExactlyOnce
from bridge.delivery.protocol import Delivery
from bridge.delivery.shard_thread import Pace, Reclaim
from bridge.kafka.config import client_config
from bridge.kafka.producer import IdempotentProducer, ProducerSettings, Role
from bridge.kafka.transactional import TransactionalProducer, TransactionTimeouts
from bridge.settings import Settings
from bridge.settings.naming import transactional_id


def make_delivery(
    settings: Settings, partitions: int, sizes: SizeLimits, reclaim: Reclaim, heartbeat: Callable[[], None]
) -> Delivery:
    """``partitions`` of the checkpoints topic; ``sizes``: of the topics as they are now."""
    topics, delivery = settings.topics, settings.delivery
    own = OwnTopics(topics.checkpoints, partitions, topics.lifecycle)
    config = client_config(settings.kafka, "mix-bridge") | {"compression.type": settings.kafka.compression}

    def make(role: Role) -> IdempotentProducer:
        return IdempotentProducer(ProducerSettings(config, sizes.batch_size, sizes.largest), role)

    if delivery.guarantee == "at_least_once":
        bounds = at_least_once.Limits(delivery.checkpoint_interval, delivery.max_in_flight, delivery.max_buffer_bytes)
        return AtLeastOnce(make, own, sizes, bounds, heartbeat)

    timeouts = TransactionTimeouts()

    def make_transactional(shard: int) -> TransactionalProducer:
        name = transactional_id(settings.namespace, shard)
        return TransactionalProducer(ProducerSettings(config, sizes.batch_size, sizes.largest), name, timeouts)

    return ExactlyOnce(
        make_transactional,
        lambda: make(Role.POSITIONS),
        own,
        sizes,
        exactly_once.Limits(delivery.max_in_flight, delivery.max_buffer_bytes),
        Pace(delivery.transaction_interval, delivery.checkpoint_interval, timeouts),
        reclaim,
        heartbeat,
    )
