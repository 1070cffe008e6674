"""Starts, checks and removes the workers of the sessions of all servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bridge.clock import monotonic
from bridge.core.identity import SessionKey
from bridge.core.records.encoder import Encoder
from bridge.core.snapshot import ServerSnapshot, SessionSnapshot
from bridge.daemon.capacity import Capacity, LeftOut
from bridge.daemon.limits import set_switch_interval
from bridge.daemon.read_linger import ReadLinger
from bridge.daemon.reader_watch import ReaderWatch
from bridge.daemon.restored_checkpoints import RestoredCheckpoints
from bridge.daemon.running_sessions import RunningSession, RunningSessions
from bridge.daemon.server_sessions import ServerSessions
from bridge.daemon.session_stream import SessionStream
from bridge.daemon.session_worker import SessionWorker
from bridge.daemon.shard_sessions import ShardSessions
from bridge.daemon.source import Source
from bridge.daemon.stall import StallDetector
from bridge.delivery.lease import Lease
from bridge.delivery.protocol import ShardDelivery

TICK = 0.5
"""Seconds between two ticks when nothing wakes the main loop."""
_LONGEST_TICK = 1.5
"""Seconds between two ticks at most while the process has enough processor time."""
_START_AHEAD = 1.0
"""Seconds before it may connect in which a session is started: two ticks, so that no connection is missed."""
_STARTING = 0.2
"""Seconds per tick for starting sessions: on a slow machine, shards and heartbeats must not wait for all of them."""


class Supervisor:
    """The sessions of all servers.

    Thread rule: the main thread, except for ``sessions`` and ``servers`` (any).
    """

    def __init__(  # noqa: PLR0913, PLR0917 - its parts, given once
        self,
        sources: Mapping[str, Source],
        shard_count: int,
        delivery: ShardDelivery,
        stall_detector: StallDetector,
        changed: Callable[[], None],
        capacity: Capacity,
    ) -> None:
        self._delivery = delivery
        self._stall_detector = stall_detector
        self.capacity = capacity
        self._running = RunningSessions(sources)
        self._left_out = LeftOut(capacity)
        checkpoints = RestoredCheckpoints({name: source.settings for name, source in sources.items()})
        self.shards = ShardSessions(shard_count, delivery, self._running, checkpoints)
        self._servers = {name: ServerSessions(source, self.shards, changed) for name, source in sources.items()}
        self._ticked_at = monotonic()
        self.readers = ReaderWatch(self._ticked_at)
        self._linger = ReadLinger()
        self.is_behind = False
        """Whether the last tick had no time for sessions that may start: the next one should come soon."""

    def start(self) -> None:
        for server in self._servers.values():
            server.discovery.start()
            server.source.address_watch.start()

    def tick(self) -> None:
        """Remove sessions that ended, end connections that are too old or prove nothing, start new sessions."""
        self.is_behind = False
        self.shards.remove_ended()
        set_switch_interval(len(self._running))
        now = monotonic()
        busy, self._ticked_at = max(0.0, now - self._ticked_at - _LONGEST_TICK), now
        running = self._running.all()
        for each in running:
            each.worker.check_connection(busy)
        self.readers.look([each.seen() for each in running], now)
        for server in self._servers.values():
            self._start_sessions(server)
            self._stop_idle_sessions(server, running)
        self._left_out.report(now)
        self._linger.ticked(now, monotonic() + TICK, len(running))

    def is_over(self, key: SessionKey) -> bool:
        """Whether nothing wants an ended session any more: it is neither configured nor listed."""
        return self._servers[key.server].is_over(key.session_id)

    def stop(self) -> None:
        for server in self._servers.values():
            server.source.address_watch.stop()
            server.discovery.stop()  # nobody waits for its thread: it holds nothing that could be lost
        for each in self._running.all():
            each.worker.stop()

    @property
    def asks_servers(self) -> bool:
        """Whether any request is sent to any server: a replica without shards may have none to send."""
        return len(self._running) > 0 or any(server.source.settings.discover for server in self._servers.values())

    @property
    def session_count(self) -> int:
        return len(self._running)

    def sessions(self, now: float) -> tuple[SessionSnapshot, ...]:
        return (*self._running.snapshots(now), *self._left_out.snapshots())

    def servers(self) -> dict[str, ServerSnapshot]:
        found = {name: self._servers[name].snapshot(counters) for name, counters in self._running.ended().items()}
        return {name: self._left_out.added(name, each) for name, each in found.items()}

    def _start_sessions(self, server: ServerSessions) -> None:
        """Start the sessions that may connect soon; the rest follows at the next ticks."""
        allowed, until = server.source.connection_rate.available(_START_AHEAD), monotonic() + _STARTING
        wanted = server.to_start(self._running.ids_of(server.source.name))
        for key in self._left_out.fitting(server.source.name, wanted, len(self._running)):
            if allowed <= 0 or monotonic() > until:
                self.is_behind = allowed > 0
                return
            lease = self.shards.lease_to_start(key)
            if lease is not None:
                self._start_session(key, server, lease)
                allowed -= 1

    def _stop_idle_sessions(self, server: ServerSessions, running: Sequence[RunningSession]) -> None:
        """Stop sessions without events whose places others need; what they read is delivered and checkpointed."""
        settings = server.source.settings
        if settings.idle_after is None:
            return
        # Without ids a session cannot be resumed where it was stopped.
        mine = [
            each for each in running if each.key.server == server.source.name and each.publisher.position.last_event_id
        ]
        idle = {*server.to_stop((each.key.session_id, each.idle_since) for each in mine)}
        for each in mine:
            if each.key.session_id in idle:
                each.worker.stop()

    def _start_session(self, key: SessionKey, server: ServerSessions, lease: Lease) -> None:
        source, restored = server.source, self.shards.checkpoints.get(key)
        checkpoint = None if restored is None else restored.checkpoint
        publisher = self._delivery.open(key, Encoder(source.rules, key), source.fingerprint, checkpoint, lease)
        stream = SessionStream(key, source, publisher, restored, lease, self._stall_detector)
        session = RunningSession(key, SessionWorker(stream, source, self._linger), publisher, lease)
        self._running.add(session)
        if not session.worker.start():
            self.capacity.refused(len(self._running) - 1, monotonic())
