"""Writes the records by which ended sessions are forgotten: tombstones, and the highest epoch of a shard's sessions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from structlog.stdlib import get_logger

from bridge.clock import unix_ms
from bridge.core.owner_records import FORGOTTEN_KEY, encode_forgotten, tombstone_headers
from bridge.kafka.client import Outgoing, ProduceFailed, QueueFull
from bridge.kafka.errors import ProduceError, in_full
from bridge.kafka.producer import IdempotentProducer, ProducerSettings, Role

log = get_logger("bridge.kafka")

_LARGEST = 64 * 1024
"""Bytes of a request: every topic accepts this."""
_IDLE_POLLS = 120
"""Polls without a record after which the producer is closed: sessions are forgotten a few times a day."""

Written = Callable[[], None]
"""Called when Kafka has acknowledged a record. Never called for one that failed."""


class ForgetWriter:
    """Writes into the checkpoints topic. Thread rule: one thread; reports run in ``poll``. Nothing waits."""

    def __init__(
        self,
        config: Mapping[str, Any],
        topic: str,
        new_producer: Callable[[ProducerSettings, Role], IdempotentProducer] = IdempotentProducer,
    ) -> None:
        self._settings = ProducerSettings(config, _LARGEST)
        self._topic, self._new_producer = topic, new_producer
        self._producer: IdempotentProducer | None = None
        self._idle_polls = 0

    def write_floor(self, shard: int, epoch: int, fencing_token: int, written: Written) -> None:
        """Write the highest epoch of all sessions of the shard that are forgotten."""
        self._write(shard, FORGOTTEN_KEY, encode_forgotten(epoch, fencing_token), [], written)

    def remove(self, shard: int, record_key: bytes, fencing_token: int, written: Written) -> None:
        self._write(shard, record_key, None, tombstone_headers(fencing_token), written)

    def poll(self) -> None:
        producer = self._producer
        if producer is None:
            return
        self._idle_polls += 1
        producer.poll(0)
        if producer.fatal is not None or self._idle_polls > _IDLE_POLLS:
            self.close()

    def close(self) -> None:
        """Abandon what is on its way. Can be called twice."""
        if self._producer is not None:
            self._producer.abandon()
            self._producer = None

    def _write(
        self, shard: int, key: bytes, value: bytes | None, headers: list[tuple[str, bytes]], written: Written
    ) -> None:
        if self._producer is None:
            self._producer = self._new_producer(self._settings, Role.CHECKPOINTS)
        self._idle_polls = 0
        try:
            record = Outgoing(self._topic, key, value, headers, unix_ms(), shard)
            self._producer.produce(record, partial(self._report, written))
        except QueueFull:
            return
        except ProduceFailed as failure:
            self._failed(failure.error)

    def _report(self, written: Written, error: ProduceError | None, _message: object) -> None:
        if error is None:
            written()
        else:
            self._failed(error)

    def _failed(self, error: ProduceError) -> None:
        log.debug("a session cannot be forgotten at present", error=in_full(self._topic, error))
