"""The independent consumer of the demo: it reads the topics like any user's consumer, and keeps what it received."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from bridge.clock import monotonic
from bridge.consumer import Event, NotAnEvent, event_of_message
from bridge.demo.summary import ReceivedEvents
from bridge.errors import Unreachable

_BATCH = 500
_BATCH_TIMEOUT = 0.03
"""``consume`` waits this many seconds for a full batch: the longest delay until a record is seen."""
_KEPT = 5000
"""Records kept for the screen: a stopped screen (Ctrl-S) must not stop the consumer or fill the memory."""
_READ_TIMEOUT = 10.0
"""Seconds to read the topics to their end, once nothing is written to them any more."""


class EventConsumer:
    """A consumer of all partitions from their beginning, on a thread of its own, in no group.

    Thread rule: ``start``, ``new_records``, ``stop`` and ``finish`` by one thread. That thread may read the counts of
    ``received`` at any time, the rest after ``finish``.
    """

    def __init__(self, bootstrap_servers: str, partitions: Mapping[str, int]) -> None:
        """``partitions``: the number for each topic."""
        self.received = ReceivedEvents()
        self.failure: str | None = None
        """Why it stopped early; None while it reads."""
        self._partitions = [(topic, number) for topic, count in partitions.items() for number in range(count)]
        self._new: deque[Event] = deque(maxlen=_KEPT)
        self._added = self._returned = 0
        self._finishing = threading.Event()
        self._stopping = threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": "mix-bridge-demo",  # required by librdkafka; never joined, which would take seconds
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
            },
            logger=logging.getLogger("bridge.demo.consumer"),
        )
        self._thread = threading.Thread(target=self._run, name="demo-consumer", daemon=True)

    def start(self) -> None:
        self._consumer.assign([TopicPartition(*each, OFFSET_BEGINNING) for each in self._partitions])
        self._thread.start()

    def new_records(self) -> tuple[list[Event], int]:
        """Return the records since the last call, and how many more there were that are no longer kept."""
        added, records = self._added, []
        while self._new:
            records.append(self._new.popleft())
        missed = max(0, added - self._returned - len(records))
        self._returned += len(records) + missed
        return records, missed

    def finish(self) -> None:
        """Read to the present end of the topics, then stop."""
        self._finishing.set()
        self._thread.join(_READ_TIMEOUT)
        self.stop()

    def stop(self) -> None:
        """Stop now. Can be called twice."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    # --- the consumer's thread

    def _run(self) -> None:
        try:
            while not (self._finishing.is_set() or self._stopping.is_set()):
                self._read()
            self._read_to_the_end()
        except Exception as failure:  # noqa: BLE001 - the demo's thread reports it and ends
            self.failure = f"the demo's consumer failed: {type(failure).__name__}: {failure}"
        finally:
            self._consumer.close()

    def _read_to_the_end(self) -> None:
        deadline = monotonic() + _READ_TIMEOUT
        while not self._stopping.is_set() and not all(map(self._is_at_the_end, self._partitions)):
            self._read()
            if monotonic() > deadline:
                raise Unreachable("the topics could not be read to their end")

    def _is_at_the_end(self, partition: tuple[str, int]) -> bool:
        place = TopicPartition(*partition)
        first, end = self._consumer.get_watermark_offsets(place, timeout=_READ_TIMEOUT)
        return end == first or self._consumer.position([place])[0].offset >= end

    def _read(self) -> None:
        for message in self._consumer.consume(_BATCH, _BATCH_TIMEOUT):
            if (error := message.error()) is not None:
                raise KafkaException(error)
            self._receive(message)

    def _receive(self, message: Message) -> None:
        try:
            event = event_of_message(message)
        except NotAnEvent:
            self.received.not_understood += 1
            return
        if self.received.add(event):
            self._new.append(event)
            self._added += 1
