"""What the shards see of delivery, whichever guarantee it gives, and what the daemon gives to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.encoder import Encoder
from bridge.delivery.lease import Lease
from bridge.kafka.transactional import TransactionTimeouts

if TYPE_CHECKING:  # they use this module
    from bridge.delivery.open_sessions import OpenSessions
    from bridge.delivery.publisher import SessionPublisher


class ShardDelivery(Protocol):
    """Delivery as the shards and their sessions see it. Thread rule: the supervisor's."""

    sessions: OpenSessions

    def enter(self, lease: Lease, ready: Callable[[], None]) -> None:
        """Prepare for a shard, before its claim is written; any thread calls ``ready`` once when that may happen."""
        ...

    def open(
        self, key: SessionKey, encoder: Encoder, fingerprint: str, restored: Checkpoint | None, lease: Lease
    ) -> SessionPublisher:
        """Create the publisher of a session of a shard that was entered, at its restored checkpoint."""
        ...

    def flush(self, shard: int) -> None:
        """Deliver and checkpoint what the shard's sessions have now, not at the end of an interval."""
        ...

    def leave(self, lease: Lease) -> None:
        """Forget a shard: when this returns nothing more of it is handed over; its memory is free soon."""
        ...

    def rewrite_checkpoints(self, partitions: int) -> None:
        """The checkpoints topic was created again with so many partitions: write all checkpoints to it (any thread)."""
        ...


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
