"""Iterates over the events of a Kafka consumer and applies the rule for consumers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from types import MappingProxyType

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from bridge.consumer.event import Event
from bridge.consumer.record import NotAnEvent, event_of_message
from bridge.consumer.rule import Place, Rule, place_of
from bridge.consumer.state import State
from bridge.consumer.stores import MemoryStore, Store

_logger = logging.getLogger("bridge.consumer")
_POLL = 0.5
"""Longest wait for a record, in seconds: Python handles signals only between two waits."""
CONFIG = MappingProxyType(
    {
        "auto.offset.reset": "earliest",  # a new group begins with the oldest event, not with the next one
        "enable.auto.commit": False,  # `Events` commits, after your code
        "isolation.level": "read_committed",  # the client's default: no records of aborted transactions
    }
)
"""The settings that a consumer for `Events` should have."""
_PASSING = frozenset(
    {
        KafkaError._PARTITION_EOF,  # noqa: SLF001 - the client's public codes begin with an underscore
        KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001 - the next poll joins the group again
        KafkaError.UNKNOWN_TOPIC_OR_PART,  # the bridge may create the topic later
    }
)


class Events:
    """The events of a consumer, each once per key and topic-partition; see docs/consuming.md.

    An event counts as processed when the loop asks for the next one. At most ``commit_interval`` seconds later, the
    highest sequences are saved in the store, then the offsets are committed. Create the consumer with `CONFIG`: with
    ``enable.auto.commit``, the client may commit an event before your code has processed it, so a crash could lose it.

    After an exception in the loop's body, or ``break``, a new loop begins with the same event again. Thread rule: one
    thread. Errors of Kafka that need attention raise ``KafkaException``.

    Errors of the store are passed on. After one the object saves and commits nothing more, and a new loop raises
    ``RuntimeError``: create a new consumer and a new `Events`, and the events since the last save come again.
    """

    def __init__(  # noqa: PLR0913 - options, each with a default
        self,
        consumer: Consumer,
        topics: Sequence[str] | None = None,
        *,
        store: Store | None = None,
        commit_interval: float | None = 1.0,
        idle_timeout: float | None = None,
        type_prefix: str = "mix.",
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Subscribe to the ``topics``.

        Without topics, assign partitions, or subscribe with `on_assign`, `on_revoke` and `on_lost` as the callbacks.

        ``commit_interval``: in seconds; None commits only when you call `commit`. ``idle_timeout``: the loop ends when
        no record came for so many seconds; None: never. ``type_prefix``: the bridge's ``events.type_prefix``.
        """
        self.repeats = 0
        """Records that the rule dropped."""
        self.foreign = 0
        """Records that are no events of the bridge: they were skipped."""
        self._consumer = consumer
        self._is_in_memory = store is None or isinstance(store, MemoryStore)
        self._store: Store = MemoryStore() if store is None else store
        self._interval, self._idle_timeout = commit_interval, idle_timeout
        self._longest_wait = _POLL if idle_timeout is None else min(_POLL, idle_timeout)
        self._type_prefix = type_prefix
        self._clock = clock
        self._state = State.READY
        self._rule = Rule()
        self._current: Event | None = None
        self._loaded: set[tuple[str, int]] = set()
        self._unsaved: dict[Place, str] = {}
        self._offsets: dict[tuple[str, int], int] = {}
        self._committed_at = clock()
        if topics is not None:
            consumer.subscribe(list(topics), on_assign=self.on_assign, on_revoke=self.on_revoke, on_lost=self.on_lost)

    def __iter__(self) -> Iterator[Event]:
        """Yield new events; the loop ends only after ``idle_timeout``."""
        self._state.check()
        last = self._clock()
        try:
            while self._idle_timeout is None or self._clock() - last < self._idle_timeout:
                if self._current is not None:
                    yield self._current
                    self._state.check()  # the body may have called `commit` and passed over an error of the store
                    self._finish_current()
                    last = self._clock()
                self._commit_when_due()  # before the next read: `commit` must not include an event that was not yielded
                message = self._consumer.poll(self._longest_wait)
                if message is not None:
                    last = self._clock()
                    self._current = self._new_event(message)
        finally:
            if self._may_commit:
                self._save_and_commit(wait=False)

    def commit(self) -> None:
        """Declare every event that was yielded so far as processed; save the sequences and commit the offsets now.

        A failed commit of offsets is logged: the events then come again, and the rule drops them. Raises
        ``RuntimeError`` after an error of the store.
        """
        self._state.check()
        self._finish_current()
        self._save_and_commit(wait=True)

    # --- rebalances: the consumer calls these inside `poll`, when the body has processed every event

    def on_assign(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Partitions were assigned: another member may have saved newer sequences of them."""
        self._forget(partitions)

    def on_revoke(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Partitions are revoked: save and commit, so that the next owner continues exactly here."""
        if self._may_commit:
            self._save_and_commit(wait=True)
        self._forget(partitions)

    def on_lost(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Partitions were lost to another member, which has the events since the last commit again."""
        if self._may_commit:
            self._save()
        self._forget(partitions)

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        for each in partitions:
            partition = each.topic, each.partition
            self._rule.forget(*partition)
            self._loaded.discard(partition)
            self._offsets.pop(partition, None)
            if self._current is not None and (self._current.topic, self._current.partition) == partition:
                self._current = None  # its processing failed; the partition's next owner has it again

    @property
    def _may_commit(self) -> bool:
        """Whether to commit by ourselves.

        Not while the body may have left half of an event's results in the transaction of the user's store: after an
        exception everything since the last save is rolled back there, and must come again. Nor after an error of the
        store: a database rolls back at a failed COMMIT, and a second save would succeed without the results.
        """
        if self._interval is None or self._state is State.FAILED:
            return False
        return self._current is None or self._is_in_memory

    # --- one record

    def _new_event(self, message: Message) -> Event | None:
        if (error := message.error()) is not None:
            _judge(error)
            return None
        topic, partition, offset = str(message.topic()), message.partition() or 0, message.offset() or 0
        try:
            event = event_of_message(message, self._type_prefix)
            if self._is_new(event):
                return event
        except NotAnEvent as foreign:
            self.foreign += 1
            if self.foreign == 1:
                _logger.warning(
                    "%s partition %d offset %d is skipped: %s (others will only be counted)",
                    *(topic, partition, offset, foreign),
                )
        self._offsets[topic, partition] = offset + 1
        return None

    def _is_new(self, event: Event) -> bool:
        partition = event.topic, event.partition
        if partition not in self._loaded:
            for place, sequence in self._load(*partition).items():
                self._rule.raise_to(place, sequence)
            self._loaded.add(partition)
        is_new = self._rule.accepts(event)
        self.repeats += not is_new
        return is_new

    # --- commits

    def _finish_current(self) -> None:
        event, self._current = self._current, None
        if event is not None:
            self._unsaved[place_of(event)] = event.sequence
            self._offsets[event.topic, event.partition] = event.offset + 1

    def _commit_when_due(self) -> None:
        if self._interval is None or self._clock() - self._committed_at < self._interval:
            return
        self._save_and_commit(wait=False)

    def _save_and_commit(self, *, wait: bool) -> None:
        """First the results of the user, which are complete, then the sequences, then the offsets.

        In any other order a crash in between could lose an event.
        """
        self._save()
        self._committed_at = self._clock()
        offsets = [TopicPartition(*partition, offset) for partition, offset in self._offsets.items()]
        if not offsets:
            return
        try:
            if wait:  # two calls, because the client's types differ
                self._consumer.commit(offsets=offsets, asynchronous=False)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except (KafkaException, RuntimeError) as error:  # RuntimeError: the consumer is closed
            _logger.warning("the offsets could not be committed, so events will come again: %s", error)
        else:
            self._offsets.clear()

    def _save(self) -> None:
        if self._unsaved:
            with self._store_call():
                self._store.save(self._unsaved)
            self._unsaved = {}

    def _load(self, topic: str, partition: int) -> Mapping[Place, str]:
        with self._store_call():
            return self._store.load(topic, partition)

    @contextmanager
    def _store_call(self) -> Iterator[None]:
        """Fail for good with the store: results may be rolled back, and a record that was read is not judged."""
        try:
            yield
        except BaseException:
            self._state = State.FAILED
            raise


def _judge(error: KafkaError) -> None:
    """Pass over errors that the client itself handles. Raises ``KafkaException`` for the others."""
    if error.fatal() or not (error.code() in _PASSING or error.retriable()):
        raise KafkaException(error)
    if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - as above
        _logger.warning("Kafka: %s", error.str())
