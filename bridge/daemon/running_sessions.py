"""The sessions that run in this process, and the counters of those that ended."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bridge.clock import monotonic
from bridge.core.checkpoint_history import Restored
from bridge.core.identity import SessionKey
from bridge.core.snapshot import Counters, SessionSnapshot
from bridge.daemon.reader_watch import Seen
from bridge.daemon.session_worker import SessionWorker
from bridge.delivery.lease import Lease
from bridge.delivery.publisher import SessionPublisher
from bridge.sse.reconnection import NO_HEAD_HINT


@dataclass(frozen=True, slots=True)
class RunningSession:
    """A session that is read, or whose last records are not acknowledged yet."""

    key: SessionKey
    worker: SessionWorker
    publisher: SessionPublisher
    lease: Lease
    started_at: float = field(default_factory=monotonic)

    @property
    def idle_since(self) -> float:
        """Its last event, or its start, by :func:`bridge.clock.monotonic`."""
        return max(self.started_at, self.worker.stream.counters.last_event_at or 0.0)

    @property
    def has_ended(self) -> bool:
        """Whether its stream is over for good and everything read of it is in Kafka."""
        return self.worker.is_over and self.publisher.is_settled

    def seen(self) -> Seen:
        waiting = self.worker.waiting
        waits = self.worker.is_over or self.publisher.is_waiting or self.lease.is_waited_for
        return Seen(self.worker, waiting.is_busy and not waits, waiting.moves)

    def counters(self) -> Counters:
        publisher, delivery = self.publisher, self.publisher.session
        numbers = self.worker.stream.counters.numbers() | {"bytes_read": self.worker.bytes_read}
        return Counters(
            published=publisher.published,
            skipped=delivery.skipped,
            dead_letters=dict(delivery.dead_letters),
            refused=delivery.dead_letters.get("rejected", 0),
            rewinds=delivery.rewinds,
            epochs_begun=delivery.epochs,
            **numbers,
        )

    def snapshot(self, now: float) -> SessionSnapshot:
        worker, publisher, counters = self.worker, self.publisher, self.worker.stream.counters
        position, acknowledged = publisher.position, publisher.acknowledged
        event_at, byte_at = counters.last_event_at, worker.last_byte_at
        trouble = f"waiting for the response head: {NO_HEAD_HINT}" if worker.awaits_head(now) else counters.last_error
        # While the epoch before it is still being acknowledged, nothing of the present one is.
        is_present = acknowledged is not None and acknowledged.epoch == position.epoch
        return SessionSnapshot(
            server=self.key.server,
            session=self.key.session_id,
            state=worker.state.value,
            last_event_id=position.last_event_id,
            epoch=position.epoch or None,
            sequence=position.sequence,
            acknowledged_sequence=acknowledged.sequence if acknowledged is not None and is_present else 0,
            shard=self.lease.shard,
            in_flight=publisher.session.pending,
            last_event_age=None if event_at is None else now - event_at,
            last_byte_age=None if byte_at is None else now - byte_at,
            last_error=publisher.session.trouble or publisher.checkpoints.trouble or trouble,
            counters=self.counters(),
            oldest_unacknowledged_ms=publisher.session.in_flight.oldest_ms,
            lifecycle=publisher.checkpoints.announced,
        )


class RunningSessions:
    """The running sessions by key.

    Thread rule: one thread adds and removes; ``snapshots``, ``ended`` and ``count_by_shard`` are for any thread. The
    lock is held only while the tables are changed or copied.
    """

    def __init__(self, servers: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[SessionKey, RunningSession] = {}
        self._ended = {name: Counters() for name in servers}

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, key: SessionKey) -> RunningSession | None:
        return self._sessions.get(key)

    def is_running(self, key: SessionKey) -> bool:
        return key in self._sessions

    def is_out_of_transaction(self, key: SessionKey) -> bool:
        running = self._sessions.get(key)
        return running is None or running.publisher.sender.is_out

    def stale(self, shard: int, restored: Mapping[SessionKey, Restored]) -> Iterable[SessionKey]:
        return [
            each.key
            for each in self.in_shard(shard)
            if each.key in restored and each.publisher.position.epoch < restored[each.key].checkpoint.position.epoch
        ]

    def all(self) -> list[RunningSession]:
        return list(self._sessions.values())

    def ids_of(self, server: str) -> set[str]:
        return {key.session_id for key in self._sessions if key.server == server}

    def in_shard(self, shard: int) -> list[RunningSession]:
        return [each for each in self._sessions.values() if each.lease.shard == shard]

    def add(self, session: RunningSession) -> None:
        with self._lock:
            self._sessions[session.key] = session

    def remove(self, session: RunningSession) -> None:
        """Remove a session and keep its counters in one step, so that no total ever decreases."""
        with self._lock:
            del self._sessions[session.key]
            server = session.key.server
            self._ended[server] = Counters.total((self._ended[server], session.counters()))

    def count_by_shard(self) -> Mapping[int, int]:
        with self._lock:
            return Counter(each.lease.shard for each in self._sessions.values())

    def ended(self) -> dict[str, Counters]:
        with self._lock:
            return dict(self._ended)

    def snapshots(self, now: float) -> tuple[SessionSnapshot, ...]:
        with self._lock:
            sessions = tuple(self._sessions.values())
        return tuple(each.snapshot(now) for each in sessions)
