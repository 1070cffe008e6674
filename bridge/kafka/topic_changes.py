"""Describes a change or a problem of a topic while the bridge runs, and how to fix it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from bridge.kafka.topics import CHECKPOINTS, TopicDescription, TopicPlan, cleanup_policy, examine

_DAY_MS = 24 * 3600 * 1000


class ChangeKind(StrEnum):
    """The kind of a change between two descriptions of a topic."""

    RECREATED = "recreated"
    PARTITIONS = "partitions"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Change:
    """One change; the message is one sentence about the change and its consequence."""

    kind: ChangeKind
    message: str


def changes(planned: TopicPlan, before: TopicDescription, now: TopicDescription) -> Iterator[Change]:
    """Compare two descriptions of a topic."""
    name = planned.name
    if _is_another(before, now):
        yield Change(ChangeKind.RECREATED, f"topic {name} was deleted and created again: {_recreated(planned)}")
    if before.partitions != now.partitions:
        counts = f"{now.partitions} partitions, {before.partitions} before"
        yield Change(ChangeKind.PARTITIONS, f"topic {name} has {counts}: {_repartitioned(planned)}")
    old, new = before.max_message_bytes, now.max_message_bytes
    if old != new:
        consequence = "it applies to this topic from now on, larger events become dead letters"
        yield Change(ChangeKind.LIMIT, f"topic {name} has max.message.bytes={new}, {old} before: {consequence}")


def _is_another(before: TopicDescription, now: TopicDescription) -> bool:
    return None not in {before.topic_id, now.topic_id} and before.topic_id != now.topic_id


def has_wrong_shape(planned: TopicPlan, before: TopicDescription, now: TopicDescription) -> bool:
    """Return whether the checkpoints topic was created again without compaction, which a start refuses.

    A broker with ``auto.create.topics.enable`` does that for any client that asks for the deleted topic: with the
    brokers' number of partitions, and without compaction.
    """
    policy = (now.config or {}).get("cleanup.policy", "compact")
    return planned.key == CHECKPOINTS and _is_another(before, now) and policy != "compact"


def wrong_shape(planned: TopicPlan, before: TopicDescription, now: TopicDescription, error: str | None) -> str:
    """Return the problem of such a topic, and the fix; ``error``: why the bridge could not repair it."""
    policy, failure = (now.config or {}).get("cleanup.policy"), "" if error is None else f"; {error}"
    return (
        f"topic {planned.name} was deleted and created again by another program, with {now.partitions} partitions and"
        f" cleanup.policy={policy} (auto.create.topics.enable of the brokers?){failure}: positions stay in memory;"
        f" delete it and create it with {before.partitions} partitions and cleanup.policy={cleanup_policy(planned)}"
    )


def _recreated(planned: TopicPlan) -> str:
    if planned.key == CHECKPOINTS:
        return "the position of every running session is written again; those of ended sessions are lost"
    return (
        "its records are lost, and records in memory are published to the new topic; consumers read it from its start"
        " (numbers continue, so consumers keep their positions)"
    )


def _repartitioned(planned: TopicPlan) -> str:
    if planned.key == CHECKPOINTS:
        return (
            "the number of shards is fixed once the topic is in use. If it was deleted, positions are written again;"
            " if partitions were added, stop all bridges of the namespace before any of them starts again"
        )
    return (
        "keys move to other partitions, so a key's records before and after the change may be read out of order;"
        " a consumer that keeps the highest number per key and partition misses nothing; do not add partitions to a"
        " topic in use"
    )


def problem(planned: TopicPlan, topic: TopicDescription | None, needed: int, *, create: bool) -> str | None:
    """Return what prevents publishing to a topic, or loses records there, and the fix. None: there is no problem."""
    if topic is None:
        return _missing(planned, create=create)
    if mistakes := examine(planned, topic, needed).mistakes:
        return mistakes[0].message
    if topic.without_leader:
        return _partitions_wait(planned, topic.without_leader, topic, "no leader", "")
    if topic.under_min_isr:
        too_few = "fewer replicas in sync than min.insync.replicas"
        return _partitions_wait(planned, topic.under_min_isr, topic, too_few, ", or lower min.insync.replicas")
    return None


def _partitions_wait(planned: TopicPlan, count: int, topic: TopicDescription, lack: str, or_else: str) -> str:
    return (
        f"topic {planned.name}: {count} of {topic.partitions} partitions have {lack}, and their records wait in memory:"
        f" check that all brokers run{or_else}"
    )


def _missing(planned: TopicPlan, *, create: bool) -> str:
    policy = cleanup_policy(planned)
    by_hand = f"create it with {planned.partitions} partitions and cleanup.policy={policy} (topics.create is false)"
    fix = "the bridge creates it again (topics.create)" if create else by_hand
    if planned.key == CHECKPOINTS:
        effect = "no position is written, so a restart would start every session again, and new sessions wait"
    else:
        effect = "its records wait in memory, and all later records of the same sessions too"
    return f"topic {planned.name} does not exist any more: {effect}; {fix}"


def warnings(planned: TopicPlan, topic: TopicDescription | None, needed: int) -> tuple[str, ...]:
    """Return what can become a problem, and the fix."""
    if topic is None:
        return ()
    found = [each.message for each in examine(planned, topic, needed).warnings]
    oldest = int((topic.config or {}).get("message.timestamp.before.max.ms", _DAY_MS))
    if oldest < _DAY_MS:
        found.append(
            f"topic {planned.name} refuses records older than message.timestamp.before.max.ms={oldest}: records that"
            f" wait longer while Kafka is away are refused; raise it to {_DAY_MS} or more"
        )
    return tuple(found)
