"""The independent consumer of the demo: reads the topics as any user would, and keeps what it saw."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from bridge.clock import monotonic
from bridge.demo.consumed_record import ConsumedRecord, NotUnderstood, understand
from bridge.demo.summary import Ledger
from bridge.errors import Unreachable

_BATCH = 500
_WAIT = 0.03
"""Seconds that a batch is waited for, which is always: what arrives is seen so much later at most."""
_KEPT = 5000
"""Arrivals kept to be shown: a screen that stands still (Ctrl-S) must not hold the consumer up or fill the memory."""
_PATIENCE = 10.0
"""Seconds for the way to the end of the topics, once they grow no more."""


class EventConsumer:
    """A consumer on a thread of its own, of no group: it takes all partitions, from their beginning.

    Thread rule: ``start``, ``news``, ``stop`` and ``finish`` by one thread; ``ledger`` is that thread's after
    ``finish``, before it only its counts.
    """

    def __init__(self, bootstrap_servers: str, partitions: Mapping[str, int]) -> None:
        """``partitions``: how many each topic has."""
        self.ledger = Ledger()
        self.failure: str | None = None
        """Why it had to give up; None while it reads."""
        self._places = [(topic, number) for topic, count in partitions.items() for number in range(count)]
        self._fresh: deque[ConsumedRecord] = deque(maxlen=_KEPT)
        self._offered = self._handed_over = 0
        self._ending = threading.Event()
        self._given_up = threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": "mix-bridge-demo",  # librdkafka wants one; it is never joined: that would take seconds
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
            },
            logger=logging.getLogger("bridge.demo.consumer"),
        )
        self._thread = threading.Thread(target=self._run, name="witness", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for topic, number in self._places])
        self._thread.start()

    def news(self) -> tuple[list[ConsumedRecord], int]:
        """What has arrived since the last call, and how many more there were that are no longer kept."""
        offered = self._offered
        fresh = []
        while self._fresh:
            fresh.append(self._fresh.popleft())
        missed = max(0, offered - self._handed_over - len(fresh))
        self._handed_over += len(fresh) + missed
        return fresh, missed

    def finish(self) -> None:
        """Read to the end that the topics have now, then end."""
        self._ending.set()
        self._thread.join(_PATIENCE)
        self._given_up.set()
        self._thread.join()

    def stop(self) -> None:
        """End now. Can be called twice."""
        self._given_up.set()
        if self._thread.is_alive():
            self._thread.join()

    # Its own thread

    def _run(self) -> None:
        try:
            while not (self._ending.is_set() or self._given_up.is_set()):
                self._read()
            self._read_to_the_end()
        except Exception as failure:  # noqa: BLE001 - the demo's own thread says it and ends
            self.failure = f"the consumer could not go on: {type(failure).__name__}: {failure}"
        finally:
            self._consumer.close()

    def _read_to_the_end(self) -> None:
        deadline = monotonic() + _PATIENCE
        while not self._given_up.is_set() and not self._is_at_the_end():
            self._read()
            if monotonic() > deadline:
                raise Unreachable("the topics could not be read to their end")

    def _is_at_the_end(self) -> bool:
        return all(self._is_read(TopicPartition(topic, number)) for topic, number in self._places)

    def _is_read(self, place: TopicPartition) -> bool:
        first, end = self._consumer.get_watermark_offsets(place, timeout=_PATIENCE)
        return end == first or self._consumer.position([place])[0].offset >= end

    def _read(self) -> None:
        for message in self._consumer.consume(_BATCH, _WAIT):
            if (error := message.error()) is not None:
                raise KafkaException(error)
            self._take(message)

    def _take(self, message: Message) -> None:
        topic, partition = message.topic(), message.partition()
        try:
            arrival = understand(_bytes(message.key()), _bytes(message.value()), _headers(message))
        except NotUnderstood:
            self.ledger.not_understood += 1
            return
        if self.ledger.take(topic or "", -1 if partition is None else partition, arrival):
            self._fresh.append(arrival)
            self._offered += 1


def _bytes(text: str | bytes | None) -> bytes | None:
    return text.encode() if isinstance(text, str) else text


def _headers(message: Message) -> list[tuple[str, bytes | None]]:
    return [(name, _bytes(text)) for name, text in dict(message.headers() or ()).items()]
