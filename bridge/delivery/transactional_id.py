"""A shard's transactional id: each acquisition needs a proof of membership and a new producer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import Any

from structlog.stdlib import get_logger

from bridge.clock import Backoff, monotonic
from bridge.delivery.lease import Lease
from bridge.errors import SettingsError, Stopped
from bridge.kafka.producer import ProducerSettings
from bridge.kafka.transactional import TransactionalProducer, TransactionTimeouts, Verdict
from bridge.settings.naming import transactional_id

log = get_logger("bridge.delivery")

_BACKOFF = Backoff(0.1, 5.0)
"""Seconds between two attempts."""
_FENCES, _WITHIN = 3, 60.0
"""Fenced so many times within so many seconds although membership was proved: a foreign producer uses the id."""


class TransactionalId:
    """Acquiring it fences the former producer. Thread rule: the shard's thread."""

    def __init__(
        self, lease: Lease, make: Callable[[], TransactionalProducer], timeout: float, left: threading.Event
    ) -> None:
        """``timeout``: seconds for one attempt; ``left``: the shard was released."""
        self._lease = lease
        self._make = make
        self._timeout = timeout
        self._left = left
        self._fenced_at: deque[float] = deque(maxlen=_FENCES)
        self._abandoned_at = -inf
        """When our own last attempt was abandoned: it may still succeed, and fence our next producer."""

    def take(self, *, was_fenced: bool = False) -> TransactionalProducer:
        """Return a producer that has the id, however long that takes; ``was_fenced``: the last producer was fenced.

        Membership is proved before each attempt: otherwise two owners would fence each other for ever. Raises
        ``Stopped`` when the shard has another owner, ``SettingsError`` when a foreign producer uses the id.
        """
        failures = 0
        while True:
            if not self._lease.prove(self._left.is_set):
                raise Stopped
            if was_fenced:
                self._note_fence()
                was_fenced = False
            producer = self._make()
            if producer.init(self._timeout) is Verdict.DONE:
                return producer
            delay = _BACKOFF.delay(failures)
            failures += 1
            log.warning(
                "could not initialise the transactional id of a shard: trying again",
                shard=self._lease.shard, error=producer.trouble, again_in=delay,
            )  # fmt: skip
            producer.abandon()
            self._abandoned_at = monotonic()
            if self._left.wait(delay):
                raise Stopped

    def _note_fence(self) -> None:
        """Count a fencing although this process is the proved owner: no member of the group did it."""
        now = monotonic()
        if now - self._abandoned_at < _WITHIN:
            return  # our own abandoned attempt may have done it
        self._fenced_at.append(now)
        if len(self._fenced_at) == _FENCES and now - self._fenced_at[0] < _WITHIN:
            raise SettingsError.of(
                "namespace",
                f"another program uses the transactional ids of this namespace: shard {self._lease.shard} was fenced"
                f" {_FENCES} times within {now - self._fenced_at[0]:.0f} s although the group assigned it to this"
                " process; give each bridge or program its own namespace",
            )


_LARGEST = 64 * 1024
"""Bytes of a request: no record is sent."""


class TransactionFence:
    """Acquires a shard's transactional id for a moment, with a producer that sends no record.

    At least once after exactly once: no transaction of a former owner may be committed behind the new owner's back. The
    brokers abort the open transaction of the id's former producer, and refuse that producer from then on: a process
    that was paused in a transaction cannot commit it when it wakes up. Thread rule: any thread; one thread per call.
    """

    def __init__(self, config: Mapping[str, Any], namespace: str) -> None:
        """With the ids of the namespace; ``config`` by librdkafka's names."""
        self._settings = ProducerSettings(config, _LARGEST)
        self._namespace = namespace

    def fence(self, lease: Lease, done: Callable[[], None]) -> None:
        """Call ``done`` once the shard's transactional id is fenced, however long that takes; never waits.

        Not called when the lease ends before.
        """
        threading.Thread(target=self._run, args=(lease, done), name=f"fence {lease.shard}", daemon=True).start()

    def _run(self, lease: Lease, done: Callable[[], None]) -> None:
        name, timeouts = transactional_id(self._namespace, lease.shard), TransactionTimeouts()
        make = partial(TransactionalProducer, self._settings, name, timeouts)
        own_id = TransactionalId(lease, make, timeouts.end, lease.released)
        try:
            own_id.take().abandon()
        except Stopped:
            return
        done()
