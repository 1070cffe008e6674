"""What it means when a topic is no longer what it was at the start, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from bridge.kafka.topic_description import TopicSeen
from bridge.kafka.topics import TopicPlan, examine

_DAY_MS = 24 * 3600 * 1000
_CHECKPOINTS = "topics.checkpoints"


class Kind(StrEnum):
    """What happened to a topic between two looks."""

    RECREATED = "recreated"
    PARTITIONS = "partitions"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Change:
    """One change: what it is and what follows from it, in one sentence for people."""

    kind: Kind
    message: str


def changes(planned: TopicPlan, before: TopicSeen, now: TopicSeen) -> Iterator[Change]:
    """What is different. Each is told once."""
    name = planned.name
    if None not in {before.topic_id, now.topic_id} and before.topic_id != now.topic_id:
        yield Change(Kind.RECREATED, f"topic {name} was deleted and created again: {_recreated(planned)}")
    if before.found.partitions != now.found.partitions:
        counts = f"{now.found.partitions} partitions, {before.found.partitions} before"
        yield Change(Kind.PARTITIONS, f"topic {name} has {counts}: {_repartitioned(planned)}")
    old, new = before.found.max_message_bytes, now.found.max_message_bytes
    if old != new:
        follows = "the smallest limit of all topics holds for what is sent from now on"
        yield Change(Kind.LIMIT, f"topic {name} takes max.message.bytes={new}, {old} before: {follows}")


def _recreated(planned: TopicPlan) -> str:
    if planned.key == _CHECKPOINTS:
        return "the position of every running session is written again; those of ended sessions are gone"
    return (
        "what was in it is gone, what is in memory goes there; consumers begin at its start"
        " (numbers go on, so what they have seen stays valid)"
    )


def _repartitioned(planned: TopicPlan) -> str:
    if planned.key == _CHECKPOINTS:
        return (
            "the number of shards is fixed once the topic is in use. If it was deleted, positions are written again;"
            " if partitions were added, stop all bridges of the namespace before any of them starts again"
        )
    return (
        "keys move to other partitions, so across the change the order is not the stream's; a consumer that keeps the"
        " highest number per key and partition misses nothing; do not add partitions to a topic in use"
    )


def trouble(planned: TopicPlan, seen: TopicSeen | None, needed_bytes: int, *, create: bool) -> str | None:
    """What keeps records out of a topic, or would lose them there, and the way out; None when nothing does."""
    if seen is None:
        return _gone(planned, create=create)
    if mistakes := examine(planned, seen.found, needed_bytes).mistakes:
        return mistakes[0].message
    count = seen.found.partitions
    if seen.without_leader:
        return (
            f"topic {planned.name}: {seen.without_leader} of {count} partitions have no leader, and what belongs there"
            " waits in memory: see that all brokers run"
        )
    if seen.short_of_replicas:
        return (
            f"topic {planned.name}: {seen.short_of_replicas} of {count} partitions have fewer replicas in step than"
            " min.insync.replicas, and what belongs there waits in memory: see that all brokers run, or lower it"
        )
    return None


def _gone(planned: TopicPlan, *, create: bool) -> str:
    policy = "compact" if planned.compacted else "delete"
    by_hand = f"create it with {planned.partitions} partitions and cleanup.policy={policy} (topics.create is false)"
    way_out = "the bridge creates it again (topics.create)" if create else by_hand
    if planned.key == _CHECKPOINTS:
        waits = "no position is written, so a restart would begin every session again, and new sessions wait"
    else:
        waits = "what belongs there waits in memory, and behind it the rest of the same sessions"
    return f"topic {planned.name} is gone: {waits}; {way_out}"


def warnings(planned: TopicPlan, seen: TopicSeen | None, needed_bytes: int) -> tuple[str, ...]:
    """What will make trouble under circumstances, and the way out."""
    if seen is None:
        return ()
    said = [each.message for each in examine(planned, seen.found, needed_bytes).warnings]
    oldest = int((seen.found.config or {}).get("message.timestamp.before.max.ms", _DAY_MS))
    if oldest < _DAY_MS:
        said.append(
            f"topic {planned.name} refuses records older than message.timestamp.before.max.ms={oldest}: what waits"
            f" longer while Kafka is away is not taken; raise it to {_DAY_MS} or more"
        )
    return tuple(said)
