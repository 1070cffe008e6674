"""What the sessions' workers, the shards and the daemon see of delivery, whichever guarantee it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from bridge.core.identity import Position, SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.encoder import Encoder
from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow
from bridge.delivery.lease import Lease
from bridge.delivery.progress import Waiting

if TYPE_CHECKING:  # they use the protocols of this module
    from bridge.delivery.open_sessions import KafkaAnswers, OpenSessions
    from bridge.delivery.publisher import SessionPublisher


class Publisher(Protocol):
    """Publishes one session. Thread rule: the session's worker, apart from ``stop`` and ``revoke``."""

    @property
    def position(self) -> Position:
        """The position after everything submitted so far, acknowledged or not: the next request resumes after it."""
        ...

    @property
    def overlap_window(self) -> OverlapWindow:
        """The window of the stream after everything submitted so far."""
        ...

    def submit(self, events: Sequence[Event]) -> None:
        """Number these events and hand them over, in order; id-only blocks and skipped events move the id alone.

        They stay in memory until Kafka has acknowledged them. Waits while there is no budget. Raises ``Stopped`` when a
        stop ends the wait: the events that were not submitted by then are read again after the next start.
        """
        ...

    def hold_unfinished(self, size: int) -> None:
        """Count the bytes of the stream's unfinished block; waits while too many are held, until it is stopped."""
        ...

    def announce(self, what: LifecycleEvent) -> None:
        """Publish a lifecycle record once everything before it is in Kafka; never waits."""
        ...

    def begin_epoch(self, overlap_window: OverlapWindow, why: LifecycleEvent | None = None) -> None:
        """Number what follows in a new epoch, which resumes at ``overlap_window``; announce why; never waits."""
        ...

    def mark(self, overlap_window: OverlapWindow) -> None:
        """Write a checkpoint with this window, at the present position, before any later event; never waits."""
        ...

    def end(self, why: LifecycleEvent) -> None:
        """The session is over: after everything before it is acknowledged this is announced and checkpointed."""
        ...

    def stop(self) -> None:
        """Wake a waiting ``submit`` and refuse further ones (any thread); what was submitted is still delivered."""
        ...

    def revoke(self) -> None:
        """When this returns nothing more of it is handed to any producer; its memory is free soon (any thread)."""
        ...


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
