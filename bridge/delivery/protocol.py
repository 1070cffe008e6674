"""What the sessions' workers, the shards and the daemon see of delivery, whichever guarantee it gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.encoder import Encoder
from bridge.delivery.lease import Lease
from bridge.delivery.progress import Waiting

if TYPE_CHECKING:  # they use the protocols of this module
    from bridge.delivery.open_sessions import KafkaAnswers, OpenSessions
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


class Delivery(Protocol):
    """Delivery as the daemon runs it.

    Thread rule: the main thread's, apart from ``renew_clients`` and what is read: any thread's.
    """

    sessions: OpenSessions
    answers: KafkaAnswers

    @property
    def bug(self) -> Exception | None:
        """What the main thread must raise: nothing is delivered any more."""
        ...

    @property
    def waiting(self) -> Waiting:
        """For how long something waits that Kafka does not acknowledge."""
        ...

    def start(self) -> None:
        """Start delivering."""
        ...

    def stop(self) -> None:
        """Ask for the end: the records in memory are delivered, and the last checkpoints are written."""
        ...

    def join(self, deadline: float) -> bool:
        """Wait until all is delivered, by the clock of :func:`bridge.clock.monotonic`; False after the deadline."""
        ...

    def abort(self) -> None:
        """Abandon records that are not delivered yet; their events are read again after the next start."""
        ...

    def renew_clients(self, why: str) -> None:
        """Use new producers, for other limits or partitions of the topics, or other certificates; ``why`` is logged."""
        ...
