"""What the daemon gives to the threads of all shards: intervals, and how to claim a shard again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.delivery.lease import Lease
from bridge.kafka.transactional import TransactionTimeouts

Reclaim = Callable[[Lease], Mapping[SessionKey, Checkpoint]]
"""Claims the shard again (the lease gets a new fencing token) and reads what was written since the last claim.

Raises ``Stopped`` when the lease is over.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """Records of one session, bytes of all sessions, and at least once: seconds until a position is written."""

    max_in_flight: int
    max_buffer_bytes: int
    checkpoint_interval: float = 1.0


@dataclass(frozen=True, slots=True)
class Intervals:
    """Seconds: how often transactions end, and how often positions that only skipped events moved are written."""

    transaction_interval: float
    checkpoint_interval: float
    timeouts: TransactionTimeouts = TransactionTimeouts()  # noqa: RUF009 - frozen
