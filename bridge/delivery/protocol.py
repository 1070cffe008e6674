"""What the shards see of delivery, whichever guarantee it gives, and what the daemon gives to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from bridge.clock import monotonic, unix_ms
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.encoder import Encoder
from bridge.delivery.budget import MemoryBudget
from bridge.delivery.lease import Lease
from bridge.delivery.publisher import SessionPublisher
from bridge.kafka.transactional import TransactionTimeouts


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


_OUTAGE = 5.0
"""Seconds without an answer, a question included, after which Kafka counts as away."""


class OpenSessions:
    """The publishers of all sessions. Thread rule: the supervisor opens and closes; any thread reads."""

    def __init__(self, max_bytes: int, closed: Callable[[SessionPublisher], None]) -> None:
        """``closed`` is called with each publisher that is closed."""
        self.budget = MemoryBudget(max_bytes)
        self._publishers: dict[SessionKey, SessionPublisher] = {}
        self._closed = closed
        self._closed_checkpoints = 0
        self._recreated_with: int | None = None
        """The partitions of the checkpoints topic, once it was created again."""

    def add(self, publisher: SessionPublisher) -> None:
        self._publishers[publisher.key] = publisher
        if self._recreated_with is not None:  # its checkpoint may be restored from the topic before
            publisher.checkpoints.begin_again(self._recreated_with)

    def close(self, key: SessionKey) -> Checkpoint | None:
        """Forget a settled session; returns its checkpoint in Kafka, None if there is none."""
        publisher = self._publishers.pop(key)
        self._closed(publisher)
        self._closed_checkpoints += publisher.checkpoints.count
        return publisher.checkpoints.checkpoint

    def revoke(self, shard: int) -> None:
        """Close the shard's sessions: nothing more of them is handed over."""
        for publisher in self._of(shard):
            publisher.revoke()
            self.close(publisher.key)

    def is_settled(self, shard: int) -> bool:
        """Whether everything submitted by the shard's sessions is in Kafka, and in their checkpoints."""
        return all(publisher.is_settled for publisher in self._of(shard))

    def write_again(self, key: SessionKey) -> None:
        """Another process wrote a stale checkpoint of this session: write ours behind it, after a proof.

        Otherwise compaction could keep only the stale one, and the next owner would use numbers that consumers have
        passed. Exactly once it is in the next transaction, which fencing protects.
        """
        if key in self._publishers:
            self._publishers[key].checkpoints.write_again()

    def begin_again(self, partitions: int) -> None:
        """The checkpoints topic was created again with so many partitions: write all checkpoints to it (any thread).

        Sessions that are opened later, from checkpoints that may be restored from the topic before, write theirs too.
        Without that, a crash before their next event would find no position of them.
        """
        self._recreated_with = partitions  # first: a session that is being opened is among the others, or sees this
        for publisher in self._all():
            publisher.checkpoints.begin_again(partitions)

    @property
    def unsettled(self) -> int:
        """Sessions with something that is not in Kafka yet, or not in their checkpoint."""
        return sum(not publisher.is_settled for publisher in self._all())

    @property
    def checkpoints_written(self) -> int:
        """Checkpoints that Kafka has acknowledged since the start."""
        return self._closed_checkpoints + sum(publisher.checkpoints.count for publisher in self._all())

    def _of(self, shard: int) -> list[SessionPublisher]:
        return [publisher for publisher in self._all() if publisher.session.lease.shard == shard]

    def _all(self) -> tuple[SessionPublisher, ...]:
        return tuple(self._publishers.values())


class KafkaAnswers:
    """When Kafka last accepted something. Thread rule: any thread."""

    def __init__(self, ask: Callable[[float], bool]) -> None:
        """``ask`` asks a broker for the checkpoints topic; it waits for so many seconds at most."""
        self.last: float | None = None
        """By :func:`bridge.clock.monotonic`."""
        self.last_checkpoint_ms: int | None = None
        """When Kafka last acknowledged a checkpoint: Unix milliseconds."""
        self._ask = ask

    def note(self) -> None:
        self.last = monotonic()

    def note_checkpoint(self) -> None:
        self.last_checkpoint_ms = unix_ms()

    def ask(self, timeout: float) -> bool:
        """Whether a broker answers within ``timeout`` seconds."""
        if is_answered := self._ask(timeout):
            self.note()
        return is_answered

    @property
    def are_recent(self) -> bool:
        return self.last is not None and monotonic() - self.last < _OUTAGE
