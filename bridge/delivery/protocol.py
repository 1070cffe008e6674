"""What the shards see of delivery, whichever guarantee it gives, and what the daemon gives to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, Protocol

from bridge.clock import monotonic, unix_ms
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.encoder import Encoder
from bridge.delivery.budget import MemoryBudget
from bridge.delivery.lease import Lease
from bridge.delivery.publisher import SessionPublisher
from bridge.kafka.client import Throttle
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
    """Records of one session, bytes of all sessions, and seconds."""

    max_in_flight: int
    max_buffer_bytes: int
    checkpoint_interval: float = 1.0
    """Until a position is written; exactly once: only of those that skipped events moved."""
    transaction_interval: float = 0.1
    """Until a transaction ends."""
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


_AFTER_THROTTLE = 30.0
"""Seconds for which a quota is still named as the reason: the next delay follows when more is sent."""


class Waiting(NamedTuple):
    """What waits at one moment."""

    seconds: float
    """For so long something waited, and nothing was acknowledged; 0 if nothing waits."""
    is_throttled: bool
    """A client quota of Kafka delays delivery, or did a moment ago."""


class Progress:
    """Thread rule: one thread notes; any thread reads."""

    def __init__(self) -> None:
        self._at = monotonic()
        self._is_idle = True
        self._throttled_until = -inf

    def begin(self) -> None:
        """Something waits from now on, if nothing did before."""
        if self._is_idle:
            self.note()

    def note(self, *, is_idle: bool = False) -> None:
        """Kafka acknowledged something; ``is_idle``: or nothing waits."""
        self._at, self._is_idle = monotonic(), is_idle

    def note_throttle(self, throttle: Throttle) -> None:
        """Keep what a producer knows about quotas, also when it is replaced."""
        self._throttled_until = max(self._throttled_until, throttle.until)

    @property
    def delay(self) -> float:
        """Seconds for which the brokers delay everything because of a quota."""
        return max(0.0, self._throttled_until - monotonic())

    @property
    def waiting(self) -> Waiting:
        now = monotonic()
        return Waiting(0.0 if self._is_idle else now - self._at, now < self._throttled_until + _AFTER_THROTTLE)
