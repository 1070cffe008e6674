"""Claims an owned shard again, for delivery that must know its last committed checkpoints."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from contextlib import suppress

from bridge.clock import monotonic
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.delivery.lease import Lease
from bridge.errors import Stopped
from bridge.sharding.collaborators import Collaborators
from bridge.sharding.leases import ShardEvent
from bridge.sharding.restore_progress import RestoredShard

_REQUEST_AGAIN = 10.0
"""Seconds until the reading is requested again: another reading of the shard may have replaced it."""
_INTERVAL = 0.1
"""Seconds between two checks whether the lease is over."""


def reclaim(lease: Lease, collaborators: Collaborators) -> Mapping[SessionKey, Checkpoint]:
    """Claim an owned shard again, and return the checkpoints since its first claim. Waits.

    Raises ``Stopped`` when the lease is over. Thread rule: any thread.
    """
    if lease.fencing_token is None:
        return {}  # it is being restored just now, and nothing of it was written yet
    answers: queue.SimpleQueue[RestoredShard] = queue.SimpleQueue()
    while not lease.is_over:
        collaborators.reader.restore(lease.shard, collaborators.new_claim(), answers.put, after=lease.first_token or 0)
        restored = _wait(answers, lease)
        if restored is not None:
            lease.claimed(restored.token)
            collaborators.leases.post(ShardEvent(lease.shard, lease, was_reclaimed=True))
            return restored.log.checkpoints
    raise Stopped


def _wait(answers: queue.SimpleQueue[RestoredShard], lease: Lease) -> RestoredShard | None:
    deadline = monotonic() + _REQUEST_AGAIN
    while not lease.is_over and monotonic() < deadline:
        with suppress(queue.Empty):
            return answers.get(timeout=_INTERVAL)
    return None
