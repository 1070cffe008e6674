"""Reads what the owners of the shards committed to their group's book, without being a member of the group."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from bridge.clock import monotonic
from bridge.core.badge import Badge, decode
from bridge.kafka.clients import client_logger, settings_judged, unreachable
from bridge.kafka.faults import error_of

_AGAIN = 0.1
_ASK_AGAIN = frozenset({KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS})
"""The brokers' words while they make the topic of the groups, at the first question ever, or move a part of it."""


def read_badges(
    config: Mapping[str, Any], group: str, topic: str, partitions: int, patience: float
) -> dict[int, Badge]:
    """The badges of all shards that have one, by shard; blocks for twice ``patience`` seconds at most. Any thread.

    Raises ``SettingsError`` and ``Unreachable``.
    """
    # Not the admin client: its list_consumer_group_offsets ends the process (a null pointer in librdkafka 2.16, its
    # issue 5040) when a coordinator has just moved. A consumer that never subscribes may ask without being a member.
    with settings_judged():
        reader = Consumer(dict(config) | {"group.id": group, "enable.auto.commit": False}, logger=client_logger())
    try:
        places = _committed(reader, [TopicPartition(topic, shard) for shard in range(partitions)], patience)
    except KafkaException as exception:
        raise unreachable(f"asking for what the consumer group {group} has committed", exception) from exception
    finally:
        reader.close()
    return {place.partition: badge for place in places if (badge := decode(place.metadata)) is not None}


def _committed(reader: Consumer, places: list[TopicPartition], patience: float) -> list[TopicPartition]:
    end, never = monotonic() + patience, threading.Event()
    while True:
        try:
            return reader.committed(places, patience)
        except KafkaException as exception:
            error = error_of(exception)
            if error is None or error.code() not in _ASK_AGAIN or monotonic() > end:
                raise
        never.wait(_AGAIN)
