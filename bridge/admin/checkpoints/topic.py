"""The checkpoints topic: read back to its end, and written by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition
from structlog.stdlib import get_logger

from bridge.admin.checkpoints.edit import Edit
from bridge.clock import monotonic, unix_ms
from bridge.core.checkpoint_log import CheckpointLog
from bridge.errors import SettingsError, Stopped, Unreachable
from bridge.kafka.config import reader, unreachable
from bridge.kafka.record_sender import Outgoing, RecordSender

log = get_logger("bridge.kafka")

_BATCH = 5000
_TIMEOUT = 10.0
_PROGRESS = 5.0
"""Seconds without an end after which progress is said."""
_STUCK = 30.0
"""Seconds without a record, before the end: somebody's open transaction holds it back, or the broker is gone."""


def read_log(config: Mapping[str, Any], topic: str, partitions: int, stopped: Callable[[], bool]) -> CheckpointLog:
    """The last word on every session, from the beginning to the end the topic has now, and what is wrong with it.

    For commands, which look at all shards and own none. Raises `Unreachable`, `Stopped`.
    """
    consumer, latest = reader(config), CheckpointLog(partitions)
    try:
        _read(consumer, topic, partitions, stopped, latest)
    except KafkaException as exception:
        raise unreachable(f"reading {topic}", exception) from exception
    finally:
        consumer.close()
    return latest


def write_edits(config: Mapping[str, Any], topic: str, max_request_bytes: int, edits: Sequence[Edit]) -> None:
    """Write all edits; returns when Kafka has acknowledged each record.

    Of each edit no record is sent before the one ahead of it is acknowledged. Raises `Unreachable`, or `SettingsError`
    when Kafka refuses one.
    """
    sender = RecordSender(config, max_request_bytes)
    for turn in zip_longest(*(edit.writes for edit in edits)):
        for edit, write in zip(edits, turn, strict=True):
            if write is not None:
                outgoing = Outgoing(topic, edit.key, write.value, [], unix_ms(), write.partition)
                sender.send(outgoing, _must_be_taken)
        sender.settle()


def _must_be_taken(refusal: str | None) -> None:
    if refusal is not None:
        raise SettingsError.of("topics.checkpoints", f"Kafka refused a checkpoint: {refusal}; allowed: Write on it")


def _read(consumer: Consumer, topic: str, partitions: int, stopped: Callable[[], bool], latest: CheckpointLog) -> None:
    ends = _ends(consumer, topic, partitions)
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in ends])
    records, moved, said = 0, monotonic(), monotonic()
    while ends:
        if stopped():
            raise Stopped
        batch = consumer.consume(_BATCH, 0.2)
        now = monotonic()
        records += len(batch)
        for message in batch:
            _take(latest, message)
        moved = now if batch else moved
        ends = _not_yet_read(consumer, topic, ends)
        if now - moved > _STUCK:
            raise Unreachable(f"Kafka: {topic} cannot be read to its end (partitions {sorted(ends)}): {_STUCK_HINT}")
        if now - said > _PROGRESS:
            said = now
            log.info("reading checkpoints", topic=topic, records=records, partitions_left=len(ends))


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


def _take(latest: CheckpointLog, message: Message) -> None:
    if (error := message.error()) is not None:
        raise KafkaException(error)
    partition, offset, value = message.partition(), message.offset(), message.value()
    assert partition is not None  # noqa: S101 - told to mypy; what a consumer returns has both
    assert offset is not None  # noqa: S101 - as above
    latest.take(
        partition, offset, message.timestamp()[1], _bytes(message.key()), None if value is None else _bytes(value)
    )


def _bytes(text: str | bytes | None) -> bytes:
    return text.encode() if isinstance(text, str) else text or b""
