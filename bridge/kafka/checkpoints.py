"""Reading the checkpoints topic back, to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition
from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.checkpoint import OWN_KEY_PREFIX, BadCheckpoint, Checkpoint, decode
from bridge.core.identity import SessionKey
from bridge.errors import Mistake, SettingsError, Stopped, Unreachable
from bridge.kafka.clients import reader, unreachable

log = get_logger("bridge.kafka")

_BATCH = 5000
_TIMEOUT = 10.0
_PROGRESS = 5.0
"""Seconds without an end after which progress is said."""
_MISTAKES = 20
"""Records that are not ours told at once: enough to see what happened, and no flood from a topic of somebody else."""
_STUCK = 30.0
"""Seconds without a record, before the end: somebody's open transaction holds it back, or the broker is gone."""


def restore(
    config: Mapping[str, Any], topic: str, partitions: int, stopped: Callable[[], bool]
) -> dict[SessionKey, Checkpoint]:
    """The last checkpoint of every session, read from the beginning to the end the topic has now.

    Raises `SettingsError` for records that are not ours and that no later one with their key settles (never "start
    from zero"), `Unreachable`, `Stopped`.
    """
    consumer = reader(config)
    try:
        return _read(consumer, topic, partitions, stopped)
    except KafkaException as exception:
        raise unreachable(f"reading {topic}", exception) from exception
    finally:
        consumer.close()


def _read(consumer: Consumer, topic: str, partitions: int, stopped: Callable[[], bool]) -> dict[SessionKey, Checkpoint]:
    ends = _ends(consumer, topic, partitions)
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in ends])
    latest = _Latest()
    records, moved, said = 0, monotonic(), monotonic()
    while ends:
        if stopped():
            raise Stopped
        batch = consumer.consume(_BATCH, 0.2)
        now = monotonic()
        records += len(batch)
        for message in batch:
            latest.take(message)
        moved = now if batch else moved
        ends = _not_yet_read(consumer, topic, ends)
        if now - moved > _STUCK:
            raise Unreachable(f"Kafka: {topic} cannot be read to its end (partitions {sorted(ends)}): {_STUCK_HINT}")
        if now - said > _PROGRESS:
            said = now
            log.info("reading checkpoints", topic=topic, records=records, partitions_left=len(ends))
    return latest.complete()


_STUCK_HINT = "no broker answers, or somebody's open transaction on the topic holds its end back"


def _ends(consumer: Consumer, topic: str, partitions: int) -> dict[int, int]:
    ends = {}
    for partition in range(partitions):
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), _TIMEOUT)
        if high > low:
            ends[partition] = high
    return ends


def _not_yet_read(consumer: Consumer, topic: str, ends: Mapping[int, int]) -> dict[int, int]:
    """The partitions whose position is before the end they had (a position also passes what compaction removed)."""
    positions = consumer.position([TopicPartition(topic, partition) for partition in ends])
    return {each.partition: ends[each.partition] for each in positions if each.offset < ends[each.partition]}


class _Latest:
    """The last word on every session, as compaction would leave it: a record settles every earlier one with its key."""

    def __init__(self) -> None:
        self.checkpoints: dict[SessionKey, Checkpoint] = {}
        self._not_ours: dict[tuple[int | None, bytes], Mistake] = {}

    def take(self, message: Message) -> None:
        if (error := message.error()) is not None:
            raise KafkaException(error)
        key, value = _bytes(message.key()), message.value()
        if key.startswith(OWN_KEY_PREFIX):
            return
        place = (message.partition(), key)
        self._not_ours.pop(place, None)
        if value is None:
            server, _, session_id = key.decode(errors="replace").partition("/")
            self.checkpoints.pop(SessionKey(server, session_id), None)
            return
        try:
            self._keep(decode(key, _bytes(value)))
        except BadCheckpoint as bad:
            self._not_ours[place] = _not_ours(message, bad)

    def _keep(self, checkpoint: Checkpoint) -> None:
        known = self.checkpoints.get(checkpoint.key)
        # A late word of a process that is gone may stand behind the first word of its successor's new epoch: numbers
        # never go back to an epoch that a consumer has left.
        if known is None or checkpoint.position.epoch >= known.position.epoch:
            self.checkpoints[checkpoint.key] = checkpoint

    def complete(self) -> dict[SessionKey, Checkpoint]:
        """Everything, at the end; raises `SettingsError` when a record that is not ours still stands."""
        if self._not_ours:
            raise SettingsError(tuple(self._not_ours.values())[:_MISTAKES])
        return self.checkpoints


def _not_ours(message: Message, bad: BadCheckpoint) -> Mistake:
    topic, partition, offset, key = message.topic(), message.partition(), message.offset(), message.key()
    return Mistake(
        "topics.checkpoints",
        f"{topic} partition {partition} offset {offset} is no checkpoint of mix-bridge: {bad}. Nothing is bridged"
        f" before this is settled: if the record is somebody else's, write a tombstone (a record without a value) with"
        f" its key {key!r} to that partition (it forgets the position of a session of that key), or give mix-bridge a"
        f" topic of its own",
    )


def _bytes(text: str | bytes | None) -> bytes:
    return text.encode() if isinstance(text, str) else text or b""
