"""What sessions' workers and the daemon see of delivery, whatever guarantee stands behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from bridge.core.identity import Position, SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.records.rules import Encoder
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow
from bridge.delivery.budget import MemoryBudget
from bridge.delivery.lease import Lease

if TYPE_CHECKING:  # it is made of what is described here
    from bridge.delivery.publisher import SessionPublisher


class Publisher(Protocol):
    """One session's way to Kafka. One thread, the session's worker, calls it."""

    @property
    def position(self) -> Position:
        """The position after everything submitted so far, acknowledged or not: its id is the one to resume after."""
        ...

    def submit(self, events: Sequence[Event]) -> None:
        """Number these events and hand them over, in order; id-only blocks and skipped events move the id alone.

        They stay in memory until Kafka has acknowledged them. Waits while there is no room; raises ``Stopped`` when the
        wait is ended by a stop: what is then not yet taken is read again after the next start.
        """
        ...

    @property
    def overlap_window(self) -> OverlapWindow:
        """The window of the stream after everything submitted so far."""
        ...

    def announce(self, what: LifecycleEvent) -> None:
        """Say this in the lifecycle topic, once everything before it is in Kafka; never waits."""
        ...

    def begin_epoch(self, overlap_window: OverlapWindow, why: LifecycleEvent | None = None) -> None:
        """Number what follows in a new epoch, which resumes at ``recent``; announce why before it; never waits."""
        ...

    def doubt(self) -> None:
        """A replay may leave out what is submitted from here on: checkpoint that before any of it; never waits."""
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


class Delivery(Protocol):
    """All sessions' way to Kafka.

    Thread rule: the supervisor's, but for ``follow_limit``, ``write_positions_again``, ``kafka_answers`` and what only
    tells: those are any thread's.
    """

    budget: MemoryBudget
    last_answer: float | None
    """When Kafka last took something, by :func:`bridge.clock.monotonic`."""

    @property
    def bug(self) -> Exception | None:
        """What the main thread must raise: nothing is delivered any more."""
        ...

    @property
    def unsettled(self) -> int:
        """Sessions with something that is not yet in Kafka, or not in their checkpoint."""
        ...

    @property
    def checkpoints_written(self) -> int:
        """Checkpoints that Kafka has acknowledged since the start."""
        ...

    def enter(self, lease: Lease, ready: Callable[[], None]) -> None:
        """Prepare for a shard, before its claim is written; ``ready`` is called once, by any thread: it may be."""
        ...

    def open(
        self, key: SessionKey, encoder: Encoder, fingerprint: str, restored: Checkpoint | None, lease: Lease
    ) -> SessionPublisher:
        """A new outbox for a session of a shard that was entered, at its restored checkpoint."""
        ...

    def close(self, key: SessionKey) -> Checkpoint | None:
        """Forget a settled outbox; returns the checkpoint Kafka has of it (None: it never got as far as one)."""
        ...

    def is_settled(self, shard: int) -> bool:
        """Whether everything submitted by the shard's sessions is in Kafka, and in their checkpoints."""
        ...

    def resume(self, shard: int) -> None:
        """Go on with a shard whose tenure was suspended, from memory."""
        ...

    def flush(self, shard: int) -> None:
        """What the shard's sessions have is delivered and checkpointed now, not at the end of an interval."""
        ...

    def leave(self, lease: Lease) -> None:
        """Forget a shard: when this returns nothing more of it is handed over; its memory is free soon."""
        ...

    def start(self) -> None:
        """Start delivering."""
        ...

    def stop(self) -> None:
        """Ask for the end: what is in memory is delivered, the last checkpoints are written."""
        ...

    def join(self, deadline: float) -> bool:
        """Wait until all is delivered, by the clock of :func:`bridge.clock.monotonic`; False when the time ran out."""
        ...

    def abort(self) -> None:
        """Give up what is not yet delivered; it is read again after the next start."""
        ...

    def kafka_answers(self, timeout: float) -> bool:
        """Ask a broker for the checkpoints topic, waiting up to ``timeout`` seconds; notes an answer."""
        ...

    def follow_limit(self, max_request_bytes: int) -> None:
        """The topics take batches of another size now: go on with new producers."""
        ...

    def write_positions_again(self, partitions: int) -> None:
        """The checkpoints topic is a new one, of so many partitions: write all that was in the old one."""
        ...
