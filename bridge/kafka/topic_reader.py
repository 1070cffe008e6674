"""Reads topics from their beginning, or from a time on, to an end that is fixed before the first record is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ClusterMetadata, OffsetSpec

from bridge.clock import monotonic
from bridge.errors import FatalFault, Unreachable
from bridge.kafka.config import admin_client, answer_of, plain, unreachable
from bridge.kafka.connection_failures import ClientErrors, cluster_metadata
from bridge.kafka.reader import KafkaMessage, Partition, PartitionReader, StoredRecord, partition_of, stored_record

_TIMEOUT = 10.0
_GRACE = 1.0
"""Seconds: the client's own time-out comes first, and says more."""
_POLL = 0.2
"""Seconds of one wait for a record."""
_BATCH_BYTES = 4 * 1024 * 1024
_MOST, _LEAST = 2000, 8
"""Records of a batch: as many as fill its bytes, going by the last batch."""
TUNING: Mapping[str, Any] = {
    # By default the client prefetches 64 MiB, 100,000 records per partition, and each needs more than its own bytes.
    "queued.max.messages.kbytes": 4 * 1024,
    "queued.min.messages": 2000,
    # Compressed bytes, up to ten times as much uncompressed, and this much of each partition may be in flight.
    "fetch.max.bytes": 1024 * 1024,
    "max.partition.fetch.bytes": 128 * 1024,
    # With such a small queue, the default pause of 1 s after each fill would be most of the time.
    "fetch.queue.backoff.ms": 5,
    "fetch.wait.max.ms": 10,
}
FIXED: Mapping[str, Any] = {
    # Each EOF says how far committed records go: the offsets of transaction markers are no lag.
    "enable.partition.eof": True,
    # With a reset, the client would skip removed records silently, and they would look lost.
    "auto.offset.reset": "error",
}


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """The records to read of one partition: offsets from ``start`` to just before ``end``."""

    topic: str
    partition: int
    start: int
    end: int
    earliest: int = 0
    """The first offset that Kafka still has."""

    @property
    def is_emptied(self) -> bool:
        """Whether there were records, and Kafka has none of them any more."""
        return 0 < self.end <= self.earliest

    @property
    def is_cut(self) -> bool:
        """Whether there were records before it: retention removed them, or they are older than what was asked for."""
        return self.start > 0


Progress = Callable[[int, int], None]
"""(records so far, offsets passed so far). There may be fewer records than offsets."""


def offset_ranges(config: Mapping[str, Any], topics: Sequence[str], since_ms: int | None = None) -> list[OffsetRange]:
    """Return what each partition of the topics holds now, from a time on if one is given.

    Topics that do not exist, or that the bridge may not describe, are left out. Raises ``Unreachable``,
    ``SettingsError``.
    """
    errors = ClientErrors(config, "admin")
    admin = admin_client(plain(config) | {"error_cb": errors.note}, errors)
    try:
        partitions = _partitions(cluster_metadata(admin, errors, _TIMEOUT, "Kafka: "), topics)
        earliest = _offsets(admin, partitions, OffsetSpec.earliest())
        latest = _offsets(admin, partitions, OffsetSpec.latest())
        later = {} if since_ms is None else _offsets(admin, partitions, OffsetSpec.for_timestamp(since_ms))
    except KafkaException as exception:
        raise unreachable("asking for offsets", exception) from exception
    return [_offset_range(each, earliest[each], latest[each], later.get(each)) for each in partitions]


def _partitions(cluster: ClusterMetadata, topics: Sequence[str]) -> list[Partition]:
    found = {topic: cluster.topics[topic] for topic in topics if topic in cluster.topics}
    return [
        (name, number) for name, topic in found.items() if topic.error is None for number in sorted(topic.partitions)
    ]


def _offsets(admin: AdminClient, partitions: Sequence[Partition], spec: OffsetSpec) -> dict[Partition, int]:
    specs = {TopicPartition(*each): spec for each in partitions}
    answers: Mapping[TopicPartition, Future[Any]] = admin.list_offsets(specs, request_timeout=_TIMEOUT) if specs else {}
    return {
        (each.topic, each.partition): answer_of(future, _TIMEOUT + _GRACE).offset for each, future in answers.items()
    }


def _offset_range(partition: Partition, earliest: int, latest: int, later: int | None) -> OffsetRange:
    # Kafka answers -1 when no record is as recent as that.
    start = earliest if later is None else latest if later < 0 else max(earliest, later)
    return OffsetRange(*partition, start=start, end=max(start, latest), earliest=earliest)


def read(
    config: Mapping[str, Any],
    ranges: Sequence[OffsetRange],
    *,
    progress: Progress | None = None,
    heads_only: bool = False,
    timeout: float = 30.0,
) -> Iterator[list[StoredRecord]]:
    """Read all committed records of the ranges, in batches of a few megabytes, each partition in offset order.

    ``heads_only``: only the first record of each range. Thread rule: one thread. Raises ``Unreachable``, also when no
    record comes for ``timeout`` seconds before the end; ``FatalFault`` when retention removes unread records.
    """
    state = _ReadState(ranges, heads_only=heads_only)
    if not state.open:
        return
    reader = PartitionReader(config, TUNING, FIXED)
    try:
        reader.assign({each: offset_range.start for each, offset_range in state.open.items()})
        yield from _batches(reader, state, progress, timeout)
    finally:
        reader.close()


def _batches(
    reader: PartitionReader, state: _ReadState, progress: Progress | None, timeout: float
) -> Iterator[list[StoredRecord]]:
    size, moved = _LEAST, monotonic()
    while state.open:
        messages = reader.poll(size, _POLL)
        batch = state.accept(messages)
        moved = monotonic() if messages else moved
        if monotonic() - moved > timeout:
            why = "no broker answers, or an open transaction of another producer blocks it"
            raise Unreachable(f"Kafka: {state.unread()} cannot be read to the end: {why}")
        if state.finished:
            reader.unassign(state.finished)
            state.finished.clear()
        if progress is not None and messages:
            progress(state.records, state.passed)
        if batch:
            mean = sum(len(record.value or b"") for record in batch) // len(batch) + 100
            size = max(_LEAST, min(_MOST, _BATCH_BYTES // mean))
            yield batch


class _ReadState:
    """How far each partition is read. Thread rule: the thread that reads."""

    def __init__(self, ranges: Sequence[OffsetRange], *, heads_only: bool) -> None:
        self.open: dict[Partition, OffsetRange] = {
            (each.topic, each.partition): each for each in ranges if each.start < each.end
        }
        self.finished: list[Partition] = []
        """Partitions that are read to their end and still assigned."""
        self.records = 0
        self._heads_only = heads_only
        self._next = {partition: each.start for partition, each in self.open.items()}
        self._start = sum(self._next.values())

    @property
    def passed(self) -> int:
        """Offsets that need not be read any more."""
        return sum(self._next.values()) - self._start

    def accept(self, messages: Sequence[KafkaMessage]) -> list[StoredRecord]:
        """Return the records before the ends of their partitions."""
        found = []
        for message in messages:
            error = message.error()
            if error is not None:
                self._note(message, error)
                continue
            record = stored_record(message)
            if self._moves_to((record.topic, record.partition), record.offset):
                found.append(record)
        self.records += len(found)
        return found

    def unread(self) -> str:
        """Name the partitions that are not read to the end."""
        names = [
            f"{topic} partition {number} (at {self._next[topic, number]} of {offset_range.end})"
            for (topic, number), offset_range in self.open.items()
        ]
        return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")  # noqa: PLR2004 - enough to read

    def _note(self, message: KafkaMessage, error: KafkaError) -> None:
        partition = partition_of(message)
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise FatalFault(
                f"Kafka: {partition[0]} partition {partition[1]}: retention removed records before they were read:"
                " start again"
            )
        if error.code() != KafkaError._PARTITION_EOF:
            raise unreachable("reading topics", KafkaException(error))
        # While a transaction is open, a reader of committed records gets EOF before the fixed end.
        if partition in self.open:
            self._pass(partition, message.offset() or 0)

    def _moves_to(self, partition: Partition, offset: int) -> bool:
        offset_range = self.open.get(partition)
        if offset_range is None:
            return False
        self._pass(partition, offset_range.end if self._heads_only else offset + 1)
        return offset < offset_range.end

    def _pass(self, partition: Partition, offset: int) -> None:
        end = self.open[partition].end
        self._next[partition] = min(offset, end)
        if offset >= end:
            del self.open[partition]
            self.finished.append(partition)
