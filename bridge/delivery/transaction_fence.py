"""At least once after exactly once: no transaction of a former owner may be committed behind the new owner's back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from bridge.delivery.lease import Lease
from bridge.delivery.transactional_id import TransactionalId
from bridge.errors import Stopped
from bridge.kafka.producer import ProducerSettings
from bridge.kafka.transactional import TransactionalProducer, TransactionTimeouts
from bridge.settings.naming import transactional_id

_LARGEST = 64 * 1024
"""Bytes of a request: no record is sent."""


class TransactionFence:
    """Acquires a shard's transactional id for a moment, with a producer that sends no record.

    The brokers abort the open transaction of its former producer, and refuse that producer from then on: a process that
    was paused in a transaction cannot commit it when it wakes up. Thread rule: any thread; one thread per call.
    """

    def __init__(self, make: Callable[[int], TransactionalProducer], timeout: float) -> None:
        """``make`` creates the producer of a shard; ``timeout``: seconds for one attempt."""
        self._make = make
        self._timeout = timeout

    @classmethod
    def of(cls, config: Mapping[str, Any], namespace: str) -> TransactionFence:
        """With the ids of the namespace; ``config`` by librdkafka's names."""
        settings, timeouts = ProducerSettings(config, _LARGEST), TransactionTimeouts()
        return cls(
            lambda shard: TransactionalProducer(settings, transactional_id(namespace, shard), timeouts), timeouts.end
        )

    def fence(self, lease: Lease, done: Callable[[], None]) -> None:
        """Call ``done`` once the shard's transactional id is fenced, however long that takes; never waits.

        Not called when the lease ends before.
        """
        threading.Thread(target=self._run, args=(lease, done), name=f"fence {lease.shard}", daemon=True).start()

    def _run(self, lease: Lease, done: Callable[[], None]) -> None:
        own_id = TransactionalId(lease, lambda: self._make(lease.shard), self._timeout, lease.released)
        try:
            own_id.take().abandon()
        except Stopped:
            return
        done()
