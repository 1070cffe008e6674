"""Iterates over the events of a Kafka consumer and applies the rule for consumers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from types import MappingProxyType

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from bridge.consumer.record import Event, NotAnEvent, event_of_message
from bridge.consumer.rule import MemoryStore, Place, Rule, Store, place_of
from bridge.consumer.state import State

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
    The client does not show its settings, so this is not checked.

    Thread rule: one thread. Errors of Kafka that need attention raise ``KafkaException``; errors of the store are
    passed on. In memory, a new loop after an exception in the body or ``break`` begins with the same event again.

    A new loop raises ``RuntimeError`` where it could lose an event or count it twice. That is after an error of the
    store or an interrupted read: create a new consumer and a new `Events` then. It is also, until you call `commit`,
    after an exception in the body or ``break``: with a `FileStore` or your own store always, in memory only if earlier
    events are not committed (``commit_interval=None``).
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
        self._begin_loop()
        last = self._clock()
        try:
            while self._current is not None or not self._is_idle(last):
                if self._current is not None:
                    yield self._current
                    self._state.check_loop()  # the body may have called `commit` and passed over an error of the store
                    self._finish_current()
                    last = self._clock()
                self._commit_when_due()  # before the next read: `commit` must not include an event that was not yielded
                if self._read():
                    last = self._clock()
        except BaseException:
            self._commit_at_end()
            self._leave_loop()
            raise
        self._commit_at_end()

    def commit(self) -> None:
        """Declare every event that was yielded so far as processed; save the sequences and commit the offsets now.

        A failed commit of offsets is logged: the events then come again, and the rule drops them. Raises
        ``RuntimeError`` after an error of the store. Do not call it after an exception whose results you rolled back.
        """
        self._state.check_commit()
        self._finish_current()
        self._save_and_commit(wait=True)
        if self._state is State.LEFT:
            self._state = State.READY

    def _begin_loop(self) -> None:
        if self._is_in_hand:  # of another iterator over this object
            self._leave_loop()
        self._state.check_loop()

    def _leave_loop(self) -> None:
        """Let no new loop count events as processed whose results the caller may have rolled back or dropped."""
        if self._state is State.READY and (self._is_in_hand or self._unsaved):
            self._state = State.LEFT

    @property
    def _is_in_hand(self) -> bool:
        """Whether the transaction of the user's store may hold results of an event that is not finished."""
        return self._current is not None and not self._is_in_memory

    def _is_idle(self, last: float) -> bool:
        return self._idle_timeout is not None and self._clock() - last >= self._idle_timeout

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
                if not self._is_in_memory:  # the store's transaction may hold its results
                    self._state = State.FAILED

    @property
    def _may_commit(self) -> bool:
        """Whether to commit by ourselves.

        Not while the body may have left half of an event's results in the transaction of the user's store: after an
        exception everything since the last save is rolled back there, and must come again. Nor after an error of the
        store: a database rolls back at a failed COMMIT, and a second save would succeed without the results.
        """
        return self._interval is not None and self._state is not State.FAILED and not self._is_in_hand

    # --- one record

    def _read(self) -> bool:
        """Read a record, which is the current event if it is new; False if none came."""
        try:
            message = self._consumer.poll(self._longest_wait)
            error = None if message is None else message.error()
            if message is not None and error is None:
                self._current = self._new_event(message)
        except BaseException:  # the client drops a record if a signal's handler or a callback raises inside `poll`
            if self._state is State.READY:
                self._state = State.INTERRUPTED
            raise
        if error is not None:
            _judge(error)
        return message is not None

    def _new_event(self, message: Message) -> Event | None:
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
        if (event := self._current) is not None:
            self._unsaved[place_of(event)] = event.sequence
            self._offsets[event.topic, event.partition] = event.offset + 1
            self._current = None  # last: after a signal's exception before it, nothing is saved

    def _commit_at_end(self) -> None:
        if self._may_commit:
            self._save_and_commit(wait=False)

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
