"""A shard's transactional id: taken by a proof of membership and a new producer, each time anew."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from math import inf

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.delivery.lease import Lease
from bridge.errors import SettingsError, Stopped
from bridge.kafka.transactional import TransactionalProducer, Verdict

log = get_logger("bridge.delivery")

_RETRY_FIRST, _RETRY_LONGEST = 0.1, 5.0
"""Seconds between two attempts."""
_FENCES, _WITHIN = 3, 60.0
"""So many times shut out within so many seconds, as a proven owner: somebody else uses our transactional ids."""


class TransactionalId:
    """Whoever takes it shuts out everybody who had it before. Thread rule: the shard's thread."""

    def __init__(
        self, lease: Lease, make: Callable[[], TransactionalProducer], timeout: float, left: threading.Event
    ) -> None:
        """``timeout``: seconds for one attempt; ``left``: the shard is given up."""
        self._lease = lease
        self._make = make
        self._timeout = timeout
        self._left = left
        self._fenced_at: deque[float] = deque(maxlen=_FENCES)
        self._astray_at = -inf
        """When an attempt of our own was last given up that may still succeed, and shut us out itself."""

    def take(self, *, was_fenced: bool = False) -> TransactionalProducer:
        """A producer that has the id, however long that takes; ``was_fenced``: the last one was shut out.

        Never without a proof, or two owners would shut each other out for ever. Raises ``Stopped`` when the shard is
        not ours any more, ``SettingsError`` when somebody outside of our group uses the id.
        """
        delay = _RETRY_FIRST
        while True:
            if not self._lease.prove(self._left.is_set):
                raise Stopped
            if was_fenced:
                self._note_fence()
                was_fenced = False
            producer = self._make()
            if producer.init(self._timeout) is Verdict.DONE:
                return producer
            log.warning(
                "the transactional id of a shard cannot be taken: trying again",
                shard=self._lease.shard, error=producer.trouble, again_in=delay,
            )  # fmt: skip
            producer.abandon()
            self._astray_at = monotonic()
            if self._left.wait(delay):
                raise Stopped
            delay = min(2 * delay, _RETRY_LONGEST)

    def _note_fence(self) -> None:
        """Fenced, and proven to be the owner: nobody of our group did it."""
        now = monotonic()
        if now - self._astray_at < _WITHIN:
            return  # a request of our own may have done it
        self._fenced_at.append(now)
        if len(self._fenced_at) == _FENCES and now - self._fenced_at[0] < _WITHIN:
            raise SettingsError.of(
                "namespace",
                f"somebody else uses the transactional ids of this namespace: shard {self._lease.shard} was shut out"
                f" {_FENCES} times within {now - self._fenced_at[0]:.0f} s, though the group says that it is ours;"
                " another bridge with the same namespace in another group, or another program: give each its own",
            )
