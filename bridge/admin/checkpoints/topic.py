"""The checkpoints topic: read back to its end, and written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from structlog.stdlib import get_logger

from bridge.admin.checkpoints.edit import Edit
from bridge.clock import monotonic, unix_ms
from bridge.core.checkpoint_log import CheckpointLog
from bridge.errors import SettingsError, Unreachable
from bridge.kafka.record_sender import Outgoing, RecordSender
from bridge.kafka.topic_reader import offset_ranges, read

log = get_logger("bridge.kafka")

_PROGRESS = 5.0
"""Seconds between two log lines about the progress."""


def read_log(config: Mapping[str, Any], topic: str, partitions: int) -> CheckpointLog:
    """Read the newest checkpoint of every session, from the beginning to the end that the topic has now.

    For commands: they read all shards and own none. Raises `Unreachable`.
    """
    ranges, latest = offset_ranges(config, [topic]), CheckpointLog(partitions)
    if len(ranges) != partitions:
        raise Unreachable(f"Kafka: {topic} has {len(ranges)} partitions, and had {partitions} a moment ago: try again")
    for batch in read(config, ranges, progress=_Progress(topic).note):
        for record in batch:
            latest.add(record.partition, record.offset, record.timestamp_ms, record.key or b"", record.value)
    return latest


class _Progress:
    """Logs how much is read. Thread rule: one thread."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._logged = monotonic()

    def note(self, records: int, _offsets: int) -> None:
        """Log now and then."""
        if monotonic() - self._logged > _PROGRESS:
            self._logged = monotonic()
            log.info("reading checkpoints", topic=self._topic, records=records)


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
