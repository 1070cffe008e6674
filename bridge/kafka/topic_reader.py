"""Reading topics from their beginning, or from a time on, to an end that is fixed before the first record is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, ClusterMetadata, OffsetSpec

from bridge.clock import monotonic
from bridge.errors import FatalFault, Stopped, Unreachable
from bridge.kafka.config import admin_client, below, client_logger, reader_config, settings_judged, unreachable
from bridge.kafka.connection_failures import Complaints

_TIMEOUT = 10.0
_ATTEMPT = 0.5
"""Seconds between two looks at what the client has met so far: nothing wakes the one that waits for metadata."""
_LOOK = 0.2
"""Seconds until a stop is heard while nothing comes."""
_STUCK = 30.0
"""Seconds without a record, before the end: somebody's open transaction holds it back, or the broker is gone."""
_BATCH_BYTES = 4 * 1024 * 1024
_MOST, _LEAST = 2000, 8
"""Records of a batch: as many as fill its bytes, going by the last batch."""
_TUNING: Mapping[str, Any] = {
    # By default it fetches 64 MiB ahead, 100,000 records of each partition, and each costs it more than its bytes.
    "queued.max.messages.kbytes": 4 * 1024,
    "queued.min.messages": 2000,
    # Compressed: ten times as much once it is unpacked, and so much of each partition may be under way.
    "fetch.max.bytes": 1024 * 1024,
    "max.partition.fetch.bytes": 128 * 1024,
    # With so little ahead, a second's rest after each fill would be most of the time.
    "fetch.queue.backoff.ms": 5,
    "fetch.wait.max.ms": 10,
}


class StoredRecord(NamedTuple):
    """One record as it lies in Kafka. ``timestamp_ms`` is Unix time; no value is a tombstone."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """What is to be read of one partition: the offsets from ``start`` to just before ``end``."""

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
"""(records so far, offsets passed so far): offsets are what `Stretch` counts, records may be fewer."""


def never() -> bool:
    """For a reading that nobody stops."""
    return False


def offset_ranges(config: Mapping[str, Any], topics: Sequence[str], since_ms: int | None = None) -> list[OffsetRange]:
    """Fix what there is to read now: of every partition of the topics that exist, from a time on if one is given.

    A topic that does not exist, or may not be seen, has no stretch. Raises ``Unreachable``, ``SettingsError``.
    """
    complaints = Complaints()
    admin = admin_client(dict(config) | {"error_cb": complaints.note})
    try:
        places = _places(_metadata(admin, complaints), topics)
        earliest = _offsets(admin, places, OffsetSpec.earliest())
        latest = _offsets(admin, places, OffsetSpec.latest())
        later = {} if since_ms is None else _offsets(admin, places, OffsetSpec.for_timestamp(since_ms))
    except KafkaException as exception:
        raise unreachable("asking for offsets", exception) from exception
    return [_offset_range(place, earliest[place], latest[place], later.get(place)) for place in places]


def _metadata(admin: AdminClient, complaints: Complaints) -> ClusterMetadata:
    end = monotonic() + _TIMEOUT
    while True:
        try:
            # Of all topics: asking for one by its name may have the broker create it.
            return admin.list_topics(timeout=_ATTEMPT)
        except KafkaException as exception:
            admin.poll(0)  # the answer itself says no more than that there was none
            if complaints.all_were_tried or monotonic() > end:
                raise complaints.as_error(_TIMEOUT, "Kafka: ") from exception


def _places(known: ClusterMetadata, topics: Sequence[str]) -> list[tuple[str, int]]:
    there = [topic for topic in dict.fromkeys(topics) if topic in known.topics and known.topics[topic].error is None]
    return [(topic, partition) for topic in there for partition in sorted(known.topics[topic].partitions)]


def _offsets(admin: AdminClient, places: Sequence[tuple[str, int]], spec: OffsetSpec) -> dict[tuple[str, int], int]:
    wanted = {TopicPartition(*place): spec for place in places}
    answers: Mapping[TopicPartition, Future[Any]] = (
        admin.list_offsets(wanted, request_timeout=_TIMEOUT) if wanted else {}
    )
    return {(place.topic, place.partition): future.result().offset for place, future in answers.items()}


def _offset_range(place: tuple[str, int], earliest: int, latest: int, later: int | None) -> OffsetRange:
    # Kafka answers -1 where no record is so young.
    start = earliest if later is None else latest if later < 0 else max(earliest, later)
    return OffsetRange(*place, start=start, end=max(start, latest), earliest=earliest)


def read(
    config: Mapping[str, Any],
    wanted: Sequence[OffsetRange],
    *,
    stopped: Callable[[], bool] = never,
    progress: Progress | None = None,
    heads_only: bool = False,
) -> Iterator[list[StoredRecord]]:
    """All committed records of the stretches in batches of a few megabytes, each partition in order of its offsets.

    ``heads_only``: of each stretch its first record alone. Thread rule: one thread. Raises ``Stopped``; ``Unreachable``
    also when an end is not reached for 30 s, ``FatalFault`` when retention removes what was just to be read.
    """
    course = _Course(wanted, heads_only=heads_only)
    if not course.open:
        return
    consumer = _consumer(config)
    try:
        consumer.assign([TopicPartition(each.topic, each.partition, each.start) for each in course.open.values()])
        yield from _batches(consumer, course, stopped, progress)
    except KafkaException as exception:
        raise unreachable("reading topics", exception) from exception
    finally:
        consumer.close()


def read_to_end(
    config: Mapping[str, Any], topics: Sequence[str], *, since_ms: int | None = None, progress: Progress | None = None
) -> Iterator[list[StoredRecord]]:
    """All that the topics hold now: `stretches`, then `read`."""
    return read(config, offset_ranges(config, topics, since_ms), progress=progress)


def _consumer(config: Mapping[str, Any]) -> Consumer:
    own = {
        "enable.partition.eof": True,
        # Going on at the new beginning without a word would make removed records look lost.
        "auto.offset.reset": "error",
    }
    with settings_judged():
        return Consumer(reader_config(below(_TUNING, config), "read_committed") | own, logger=client_logger())


def _batches(
    consumer: Consumer, course: _Course, stopped: Callable[[], bool], progress: Progress | None
) -> Iterator[list[StoredRecord]]:
    size, moved = _LEAST, monotonic()
    while course.open:
        if stopped():
            raise Stopped
        # `consume` alone would wait for its whole time-out while it has fewer than asked for.
        first = consumer.consume(1, _LOOK)
        batch = course.taken([*first, *consumer.consume(size, 0)] if first else [])
        moved = monotonic() if first else moved
        if monotonic() - moved > _STUCK:
            raise Unreachable(f"Kafka: {course.left()} cannot be read to the end: {_STUCK_HINT}")
        if course.done:
            consumer.pause([TopicPartition(*place) for place in course.done])
            course.done.clear()
        if progress is not None and first:
            progress(course.records, course.passed)
        if batch:
            size = _next_size(batch)
            yield batch


_STUCK_HINT = "no broker answers, or somebody's open transaction on the topic holds its end back"


def _next_size(batch: Sequence[StoredRecord]) -> int:
    mean = sum(len(record.value or b"") for record in batch) // len(batch) + 100
    return max(_LEAST, min(_MOST, _BATCH_BYTES // mean))


class _Course:
    """How far a reading has come. Thread rule: the one that reads."""

    def __init__(self, wanted: Sequence[OffsetRange], *, heads_only: bool) -> None:
        self.open = {(each.topic, each.partition): each for each in wanted if each.start < each.end}
        self.done: list[tuple[str, int]] = []
        """Partitions that were finished and not yet paused."""
        self.records = 0
        self._heads_only = heads_only
        self._next = {place: each.start for place, each in self.open.items()}
        self._starts = dict(self._next)

    @property
    def passed(self) -> int:
        """Offsets that need not be read any more."""
        return sum(self._next.values()) - sum(self._starts.values())

    def taken(self, messages: Sequence[Message]) -> list[StoredRecord]:
        """The records among what a consumer returned that lie before their end."""
        found = []
        for message in messages:
            error = message.error()
            if error is not None:
                self._told(message, error)
                continue
            record = _stored(message)
            if self._moves_to((record.topic, record.partition), record.offset):
                found.append(record)
        self.records += len(found)
        return found

    def left(self) -> str:
        """The partitions that are not read to the end."""
        places = [
            f"{topic} partition {number} (at {self._next[topic, number]} of {offset_range.end})"
            for (topic, number), offset_range in self.open.items()
        ]
        return ", ".join(places[:5]) + (f" and {len(places) - 5} more" if len(places) > 5 else "")  # noqa: PLR2004 - enough to look at

    def _told(self, message: Message, error: KafkaError) -> None:
        place = (str(message.topic()), _number(message.partition()))
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise FatalFault(
                f"Kafka: {place[0]} partition {place[1]}: retention removed records that were just to be read:"
                " start again"
            )
        if error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        # The end that a reader of committed records sees: before the fixed one while a transaction is open.
        if place in self.open:
            self._passes(place, _number(message.offset()))

    def _moves_to(self, place: tuple[str, int], offset: int) -> bool:
        offset_range = self.open.get(place)
        if offset_range is None:
            return False
        self._passes(place, offset_range.end if self._heads_only else offset + 1)
        return offset < offset_range.end

    def _passes(self, place: tuple[str, int], offset: int) -> None:
        end = self.open[place].end
        self._next[place] = min(offset, end)
        if offset >= end:
            del self.open[place]
            self.done.append(place)


def _stored(message: Message) -> StoredRecord:
    headers: Any = message.headers() or ()
    return StoredRecord(
        str(message.topic()),
        _number(message.partition()),
        _number(message.offset()),
        _bytes(message.key()),
        _bytes(message.value()),
        headers,
        message.timestamp()[1],
    )


def _number(number: int | None) -> int:
    assert number is not None  # noqa: S101 - told to mypy; every message of a consumer has one
    return number


def _bytes(text: str | bytes | None) -> bytes | None:
    return text.encode() if isinstance(text, str) else text
