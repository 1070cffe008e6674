"""Starts, watches and ends the sessions' workers: the roster made real."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.checkpoint_history import Restored
from bridge.core.identity import Position, SessionKey, partition_of
from bridge.core.snapshot import Counters, ServerSnapshot, SessionSnapshot
from bridge.daemon.discovery import Discovery
from bridge.daemon.limits import share_interpreter_among
from bridge.daemon.selection import OwnedPart, choose
from bridge.daemon.session_states import State
from bridge.daemon.session_worker import SessionWorker
from bridge.daemon.source import Source
from bridge.daemon.stall import StallDetector
from bridge.delivery.lease import Lease
from bridge.delivery.protocol import Delivery
from bridge.delivery.publisher import SessionPublisher

log = get_logger("bridge.supervisor")

_REST_AFTER_END = 60.0
"""Seconds an ended session is left alone although it is still configured or listed: a proxy that answered 404 for a
while must not cost the session for good, and one that is really gone must not be asked all the time."""
_PUNCTUAL = 1.5
"""Seconds between two ticks at the most, while the process has time for all that it does."""
_REST_AFTER_CRASH = 5.0
"""Seconds before a session whose worker died of a bug is started again."""
_SOON = 1.0
"""Seconds until its turn to connect in which a session is started: two ticks, so that no turn is left out."""
_LAUNCHING = 0.2
"""Seconds of one tick for starting sessions: where the machine is too slow for all of them, shards and beats go on."""


@dataclass(frozen=True, slots=True)
class Running:
    """A session that is worked on, or whose last records are still on their way."""

    worker: SessionWorker
    publisher: SessionPublisher
    lease: Lease


@dataclass(frozen=True, slots=True)
class Rest:
    """How long a session is left alone: ``until`` then, or until a list later than ``since`` is without it."""

    until: float
    since: float


class Supervisor:
    """All sessions of the shards that this process owns.

    Thread rule: one thread but for ``sessions``, ``servers`` and ``count_by_shard`` (any). The lock
    guards the tables that they copy.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        shard_count: int,
        delivery: Delivery,
        stall_detector: StallDetector,
        changed: Callable[[], None],
    ) -> None:
        """``changed`` wakes the thread that calls ``tick``."""
        self._sources = sources
        self._shard_count = shard_count
        self._delivery = delivery
        self._stall_detector = stall_detector
        self._leases: dict[int, Lease] = {}
        """Of the shards whose sessions are to run here."""
        self._checkpoints: dict[SessionKey, Restored] = {}
        self._keys: dict[int, set[SessionKey]] = {}
        """Of the checkpoints, by shard."""
        self._ticked_at = monotonic()
        self._lock = threading.Lock()
        self.is_behind = False
        """Whether the last tick had no time for sessions that may begin: the next one should come soon."""
        self._running: dict[SessionKey, Running] = {}
        self._held: set[SessionKey] = set()
        """Sessions that are not to be begun before it is known where they go on."""
        self._departing: dict[SessionKey, SessionWorker] = {}
        """Workers of shards that were lost: no session gets a second connection before the first is closed."""
        self._ended = {name: Counters() for name in sources}
        self._left_out = dict.fromkeys(sources, 0)
        self._rests: dict[SessionKey, Rest] = {}
        self._told_of: set[str] = set()
        self._parts = {name: OwnedPart(name, self.shard_of) for name in sources}
        self._discoveries = {
            name: Discovery(source, changed) for name, source in sources.items() if source.settings.discover
        }

    def start(self) -> None:
        """Start asking the servers for their sessions."""
        for discovery in self._discoveries.values():
            discovery.start()

    def tick(self) -> None:
        """Take out what has ended, retire connections that are too old or prove nothing, start what is wanted."""
        self.is_behind = False
        self._reap()
        self._departing = {key: worker for key, worker in self._departing.items() if worker.is_alive}
        share_interpreter_among(len(self._running))
        now = monotonic()
        late, self._ticked_at = max(0.0, now - self._ticked_at - _PUNCTUAL), now
        for running in self._all():
            running.worker.retire_if_unproven(late)
        for name, source in self._sources.items():
            if source.settings.max_connection_age is not None:
                for running in self._of(name):
                    running.worker.retire_if_older(source.settings.max_connection_age)
            self._start_wanted(name, source)

    def stop(self) -> None:
        """Ask all readers to end, and look for no more sessions.

        Discovery holds nothing that could be lost, and may wait for a connection longer than a stop should take.
        """
        for discovery in self._discoveries.values():
            discovery.stop()
        for running in self._all():
            running.worker.stop()

    def any_reached(self) -> bool:
        """Whether any server has answered since the start."""
        return any(source.reached for source in self._sources.values())

    @property
    def wants_any(self) -> bool:
        """Whether anything is asked of any server: a process without shards may have nothing to ask."""
        return bool(self._running) or bool(self._discoveries)

    # Shards

    def shard_of(self, key: SessionKey) -> int:
        """The shard a session belongs to: the partition its checkpoints are in."""
        return partition_of(key.record_key, self._shard_count)

    def acquire(self, lease: Lease, restored: Mapping[SessionKey, Restored]) -> None:
        """Bridge the sessions of a shard from now on."""
        self._checkpoints.update(restored)
        self._keys[lease.shard] = set(restored)
        self._leases[lease.shard] = lease
        self._say_what_is_left_alone(restored)

    def revoke(self, shard: int) -> None:
        """Begin no session of the shard any more, and ask its readers to end."""
        self._leases.pop(shard, None)
        for key in self._keys.pop(shard, ()):
            self._checkpoints.pop(key, None)
        for running in self._in(shard).values():
            running.worker.stop()

    def is_drained(self, shard: int, *, readers: bool) -> bool:
        """Whether all its readers have ended and what they read is in Kafka; ``readers`` False: whatever they do.

        One in a name lookup that hangs hands over nothing more, its outbox refuses: it must not cost the others what
        they have read.
        """
        mine = self._in(shard).values()
        return self._delivery.is_settled(shard) and not (readers and any(each.worker.is_alive for each in mine))

    def forget(self, shard: int) -> None:
        """Forget the shard, whatever its sessions still have: their outboxes take nothing any more."""
        self.revoke(shard)
        for key, running in self._in(shard).items():
            if running.worker.is_alive:
                self._departing[key] = running.worker
            self._forget(key, running)
        for key in [key for key in self._rests if self.shard_of(key) == shard]:
            del self._rests[key]
        self._held = {key for key in self._held if self.shard_of(key) != shard}

    def suspend(self, key: SessionKey) -> None:
        """End the session here, whatever it still has, and do not begin it again before it is released."""
        self._held.add(key)
        running = self._running.get(key)
        if running is not None:
            running.worker.stop()
            running.publisher.revoke()

    def restart_suspended(self, shard: int, restored: Mapping[SessionKey, Restored]) -> None:
        """Begin what was held of the shard from where it stands now."""
        for key in [key for key in self._held if self.shard_of(key) == shard]:
            self._held.discard(key)
            self._take_over(key)
            self._checkpoints.pop(key, None)
            if key in restored:
                self._keep(shard, key, restored[key])
            self._rests.pop(key, None)

    def stale(self, shard: int, restored: Mapping[SessionKey, Restored]) -> Iterable[SessionKey]:
        """Those of the shard that run in a lower epoch than the one that stands."""
        return [
            key
            for key, running in self._in(shard).items()
            if key in restored and running.publisher.position.epoch < restored[key].checkpoint.position.epoch
        ]

    def is_out_of_transaction(self, key: SessionKey) -> bool:
        """Whether no transaction holds anything of a session that is held."""
        running = self._running.get(key)
        return running is None or running.publisher.is_out

    def restored_epoch(self, key: SessionKey) -> int | None:
        """The epoch that a session was in when it was taken over; None when it was in none."""
        restored = self._checkpoints.get(key)
        return None if restored is None else restored.checkpoint.position.epoch

    def must_restart(self) -> Iterable[SessionKey]:
        """Sessions whose memory does not know the position that stands in Kafka."""
        return [
            key
            for key, each in self._running.items()
            if each.publisher.must_restart is not None and key not in self._held
        ]

    def count_by_shard(self) -> Mapping[int, int]:
        """Sessions that run here, by shard (any thread)."""
        with self._lock:
            return Counter(each.lease.shard for each in self._running.values())

    def _take_over(self, key: SessionKey) -> None:
        """What a session that was held still has here is forgotten."""
        running = self._running.get(key)
        if running is not None:
            if running.worker.is_alive:
                self._departing[key] = running.worker
            self._delivery.close(key)
            self._forget(key, running)

    def _keep(self, shard: int, key: SessionKey, restored: Restored) -> None:
        self._checkpoints[key] = restored
        self._keys.setdefault(shard, set()).add(key)

    def _in(self, shard: int) -> dict[SessionKey, Running]:
        return {key: each for key, each in self._running.items() if each.lease.shard == shard}

    # Starting and ending

    def _start_wanted(self, name: str, source: Source) -> None:
        running = {key.session_id for key in self._running if key.server == name}
        discovery = self._discoveries.get(name)
        resting = self._resting(name, source, discovery)
        owned, part = frozenset(self._leases), self._parts[name]
        choice = choose(
            part.of("configured", source.settings.sessions, owned),
            self._unfinished(name) if discovery else (),
            (*part.of("listed", discovery.listed, owned), *self._known(name, discovery.all_listed))
            if discovery
            else (),
            running=running,
            over=resting,
            limit=source.settings.max_sessions,
        )
        self._say_left_out(name, choice.left_out, source.settings.max_sessions)
        self._launch_some([SessionKey(name, each) for each in choice.chosen if each not in running], source)

    def _launch_some(self, wanted: Iterable[SessionKey], source: Source) -> None:
        """As many as may connect soon, the rest at the next ticks: this thread has more to do than start thousands."""
        places, until = source.places(_SOON), monotonic() + _LAUNCHING
        for key in wanted:
            if places <= 0 or monotonic() > until:
                self.is_behind = places > 0
                return
            # A shard that is being given up is in the tables still, and none of its sessions may begin.
            lease = self._leases.get(self.shard_of(key))
            if lease is not None and key not in self._held and key not in self._departing:
                self._launch(key, source, lease)
                places -= 1

    def _resting(self, name: str, source: Source, discovery: Discovery | None) -> set[str]:
        """Sessions to be left alone. One that the server has ceased to list is free again: listed anew, it is back."""
        now = monotonic()
        for key, rest in [(key, rest) for key, rest in self._rests.items() if key.server == name]:
            unlisted = discovery is not None and discovery.has_dropped(key.session_id, rest.since)
            if rest.until <= now or (unlisted and key.session_id not in source.settings.sessions):
                del self._rests[key]
        return {key.session_id for key in self._rests if key.server == name}

    def _launch(self, key: SessionKey, source: Source, lease: Lease) -> None:
        restored = self._checkpoints.get(key)
        checkpoint = None if restored is None else restored.checkpoint
        publisher = self._delivery.open(key, source.encoder(key), source.fingerprint, checkpoint, lease)
        discovery = self._discoveries.get(key.server)
        hint = discovery.ask_now if discovery else _nothing
        worker = SessionWorker(key, source, publisher, restored, lease, self._stall_detector, hint)
        with self._lock:
            self._running[key] = Running(worker, publisher, lease)
        worker.start()

    def _reap(self) -> None:
        for key, running in list(self._running.items()):
            if key in self._held or running.publisher.must_restart is not None:
                continue
            if running.worker.is_over and running.publisher.is_settled and running.worker.state is not State.REFUSED:
                self._take_out(key, running)

    def _take_out(self, key: SessionKey, running: Running) -> None:
        outcome = running.worker.state
        checkpoint = self._delivery.close(key)
        if checkpoint is not None and running.lease.shard in self._leases:
            self._keep(running.lease.shard, key, Restored(checkpoint, is_stale=False))
        now = monotonic()
        crashed = outcome is State.CRASHED
        self._rests[key] = Rest(now + _REST_AFTER_CRASH, inf) if crashed else Rest(now + _REST_AFTER_END, now)
        self._forget(key, running)

    def _forget(self, key: SessionKey, running: Running) -> None:
        with self._lock:  # in one step, so that no total ever goes backwards
            del self._running[key]
            self._ended[key.server] = Counters.total((self._ended[key.server], _counters(running)))

    def _unfinished(self, name: str) -> Iterable[str]:
        return [
            key.session_id
            for key, each in self._checkpoints.items()
            if key.server == name and each.checkpoint.state == "active"
        ]

    def _known(self, name: str, listed: Iterable[str]) -> Iterable[str]:
        """Of the listed sessions those that have a checkpoint: whatever the filters say now, they were let in once."""
        return [each for each in listed if SessionKey(name, each) in self._checkpoints]

    # What is said

    def _say_left_out(self, name: str, left_out: int, limit: int) -> None:
        if left_out != self._left_out[name] and left_out:
            log.error(
                "more sessions than servers.*.max_sessions: the rest is NOT bridged",
                server=name, not_bridged=left_out, max_sessions=limit,
            )  # fmt: skip
        self._left_out[name] = left_out

    def _say_what_is_left_alone(self, restored: Mapping[SessionKey, Restored]) -> None:
        """Once for each server: another shard tells nothing new."""
        for name in {key.server for key in restored} - set(self._sources) - self._told_of:
            self._told_of.add(name)
            log.warning("checkpoints of a server that the settings do not name are left alone", server=name)
        for name, source in self._sources.items():
            if name not in self._discoveries and name not in self._told_of:
                others = set(self._unfinished(name)) - set(source.settings.sessions)
                if others:
                    self._told_of.add(name)
                    log.warning(
                        "discovery is off: sessions with a checkpoint that are not configured are left alone",
                        server=name, sessions=len(others),
                    )  # fmt: skip

    # What is told

    def sessions(self) -> tuple[SessionSnapshot, ...]:
        """All sessions at this moment (any thread)."""
        with self._lock:
            running = tuple(self._running.items())
        now = monotonic()
        return tuple(_session_snapshot(key, each, now) for key, each in running)

    def servers(self) -> dict[str, ServerSnapshot]:
        """All servers at this moment (any thread)."""
        with self._lock:
            ended = dict(self._ended)
        return {name: self._server_snapshot(name, counters) for name, counters in ended.items()}

    def _server_snapshot(self, name: str, ended: Counters) -> ServerSnapshot:
        discovery = self._discoveries.get(name)
        answered = discovery.answered_at if discovery else None
        return ServerSnapshot(
            reachable=self._sources[name].answers,
            discovers=discovery is not None,
            discovery_fails=discovery is not None and discovery.fails,
            last_discovery_age=None if answered is None else monotonic() - answered,
            listed=len(discovery.listed) if discovery else 0,
            not_bridged=self._left_out[name],
            ended=ended,
        )

    def _all(self) -> list[Running]:
        return list(self._running.values())

    def _of(self, name: str) -> list[Running]:
        return [running for key, running in self._running.items() if key.server == name]


def _nothing() -> None:
    """No discovery, nobody to tell."""


def _counters(running: Running) -> Counters:
    session_counters, counters = running.worker.session_counters, running.publisher.counters
    return Counters(
        received=session_counters.received,
        published=running.publisher.published,
        skipped=counters.skipped,
        dead_letters=dict(running.publisher.dead_letters),
        refused=running.publisher.dead_letters.get("rejected", 0),
        rewinds=counters.rewinds,
        epochs_begun=counters.epochs,
        reconnects=session_counters.reconnects,
        resumed=session_counters.resumed,
        gaps=session_counters.gaps,
        missing_events=session_counters.missing_events,
        healed=session_counters.healed,
        resets=session_counters.resets,
        unresumable=session_counters.unresumable,
        bytes_read=running.worker.bytes_read,
        replaced_utf8=session_counters.replaced,
        discarded_tails=session_counters.discarded_tails,
        discarded_bytes=session_counters.discarded_bytes,
    )


def _session_snapshot(key: SessionKey, running: Running, now: float) -> SessionSnapshot:
    worker, publisher = running.worker, running.publisher
    position, acknowledged = publisher.position, publisher.acknowledged
    event_at, byte_at = worker.session_counters.last_event_at, worker.last_byte_at
    return SessionSnapshot(
        server=key.server,
        session=key.session_id,
        state=worker.state.value,
        last_event_id=position.last_event_id,
        epoch=position.epoch or None,
        sequence=position.sequence,
        acknowledged_sequence=_acknowledged_sequence(position.epoch, acknowledged),
        shard=running.lease.shard,
        in_flight=publisher.in_flight,
        last_event_age=None if event_at is None else now - event_at,
        last_byte_age=None if byte_at is None else now - byte_at,
        last_error=publisher.trouble or publisher.positions.trouble or worker.session_counters.last_error,
        counters=_counters(running),
    )


def _acknowledged_sequence(epoch: int, acknowledged: Position | None) -> int:
    """Of the present epoch: nothing of it is acknowledged while the one before it is still under way."""
    return acknowledged.sequence if acknowledged is not None and acknowledged.epoch == epoch else 0
