"""The client of one member of the group: what it is made with, and how its answers are read. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, TopicPartition

from bridge.kafka.config import below


def member_config(
    config: Mapping[str, Any], group: str, instance: str | None, session_timeout: float, absence: float
) -> dict[str, Any]:
    """What a member's client is made with: what makes it a member is the bridge's, everything else the settings'.

    ``absence``: seconds after which a rebalance goes on without a member that does not come.
    """
    session_ms = round(session_timeout * 1000)
    own = {
        "group.id": group,
        "group.protocol": "classic",  # the newer one has no static members, and wants Kafka 4
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": session_ms,
        # How soon members learn that the group changes: shards of one that leaves move within a second.
        "heartbeat.interval.ms": min(500, session_ms // 3),
        "max.poll.interval.ms": round(absence * 1000),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "allow.auto.create.topics": False,
    }
    # While its coordinator is away the client tries the bootstrap servers as often as this lets it: 20 times a second.
    patience = {"reconnect.backoff.ms": 500, "reconnect.backoff.max.ms": 1000}
    return below(patience, config) | own | ({} if instance is None else {"group.instance.id": instance})


def refusal(places: Sequence[TopicPartition]) -> KafkaError | None:
    """Why nothing was taken; None when one place was: the group is asked before any of them is."""
    errors = [place.error for place in places]
    return None if None in errors or not errors else errors[0]
