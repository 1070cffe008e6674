"""Starts, watches and ends the sessions' workers: the roster made real."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.checkpoint import Checkpoint
from bridge.core.identity import Position, SessionKey
from bridge.core.states import State
from bridge.daemon.discovery import Discovery
from bridge.daemon.pulse import Pulse
from bridge.daemon.roster import choose
from bridge.daemon.shards import Shards
from bridge.daemon.source import Source
from bridge.daemon.worker import Worker
from bridge.delivery.at_least_once import AtLeastOnce
from bridge.delivery.outbox import SessionOutbox
from bridge.observe.snapshot import Counters, ServerSnapshot, SessionSnapshot

log = get_logger("bridge.supervisor")

_REST_AFTER_END = 60.0
"""Seconds an ended session is left alone although it is still configured or listed: a proxy that answered 404 for a
while must not cost the session for good, and one that is really gone must not be asked all the time."""
_REST_AFTER_CRASH = 5.0
"""Seconds before a session whose worker died of a bug is started again."""


@dataclass(frozen=True, slots=True)
class Running:
    """A session that is worked on, or whose last records are still on their way."""

    worker: Worker
    outbox: SessionOutbox


@dataclass(frozen=True, slots=True)
class Rest:
    """How long a session is left alone: ``until`` then, or until a list later than ``since`` is without it."""

    until: float
    since: float


class Supervisor:
    """All sessions of this process.

    Thread rule: one thread calls ``tick`` and the lifecycle verbs; ``snapshots`` any thread. The lock guards the tables
    that snapshots read, for a copy each time.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what the sessions of a process share, given once
        self,
        sources: Mapping[str, Source],
        shards: Shards,
        restored: Mapping[SessionKey, Checkpoint],
        delivery: AtLeastOnce,
        pulse: Pulse,
        changed: Callable[[], None],
    ) -> None:
        """``changed`` wakes the thread that calls ``tick``."""
        self._sources = sources
        self._shards = shards
        self._delivery = delivery
        self._pulse = pulse
        self._checkpoints = dict(restored)
        self._lock = threading.Lock()
        self._running: dict[SessionKey, Running] = {}
        self._ended = {name: Counters() for name in sources}
        self._left_out = dict.fromkeys(sources, 0)
        self._rests: dict[SessionKey, Rest] = {}
        self._discoveries = {
            name: Discovery(source, changed) for name, source in sources.items() if source.settings.discover
        }

    def start(self) -> None:
        """Start asking the servers for their sessions."""
        self._say_what_is_left_alone()
        for discovery in self._discoveries.values():
            discovery.start()

    def tick(self) -> None:
        """Take out what has ended, retire connections that are too old or prove nothing, start what is wanted."""
        self._reap()
        for running in self._all():
            running.worker.retire_if_unproven()
        for name, source in self._sources.items():
            if source.settings.max_connection_age is not None:
                for running in self._of(name):
                    running.worker.retire_if_older(source.settings.max_connection_age)
            self._start_wanted(name, source)

    def stop(self) -> None:
        """Ask all readers to end."""
        for discovery in self._discoveries.values():
            discovery.stop()
        for running in self._all():
            running.worker.stop()

    def join(self, deadline: float) -> bool:
        """Wait until every reader has ended; False when time ran out.

        Discovery holds nothing that could be lost, and may wait for a connection longer than a stop should take.
        """
        return all(running.worker.join(deadline) for running in self._all())

    def any_reached(self) -> bool:
        """Whether any server has answered since the start."""
        return any(source.reached for source in self._sources.values())

    # Starting and ending

    def _start_wanted(self, name: str, source: Source) -> None:
        running = {key.session_id for key in self._running if key.server == name}
        discovery = self._discoveries.get(name)
        resting = self._resting(name, source, discovery)
        choice = choose(
            source.settings.sessions,
            self._unfinished(name) if discovery else (),
            (*discovery.listed, *self._known(name, discovery.all_listed)) if discovery else (),
            running=running,
            over=resting,
            limit=source.settings.max_sessions,
        )
        self._say_left_out(name, choice.left_out, source.settings.max_sessions)
        for session_id in choice.chosen:
            key = SessionKey(name, session_id)
            if session_id not in running and self._shards.owns(key):
                self._launch(key, source)

    def _resting(self, name: str, source: Source, discovery: Discovery | None) -> set[str]:
        """Sessions to be left alone. One that the server has ceased to list is free again: listed anew, it is back."""
        now = monotonic()
        for key, rest in [(key, rest) for key, rest in self._rests.items() if key.server == name]:
            unlisted = discovery is not None and discovery.has_dropped(key.session_id, rest.since)
            if rest.until <= now or (unlisted and key.session_id not in source.settings.sessions):
                del self._rests[key]
        return {key.session_id for key in self._rests if key.server == name}

    def _launch(self, key: SessionKey, source: Source) -> None:
        checkpoint = self._checkpoints.get(key)
        outbox = self._delivery.open(key, source.encoder(key), source.fingerprint, checkpoint)
        discovery = self._discoveries.get(key.server)
        worker = Worker(key, source, outbox, checkpoint, self._pulse, discovery.ask_now if discovery else _nothing)
        with self._lock:
            self._running[key] = Running(worker, outbox)
        worker.start()

    def _reap(self) -> None:
        for key, running in list(self._running.items()):
            if running.worker.is_over and running.outbox.is_settled and running.worker.state is not State.REFUSED:
                self._take_out(key, running)

    def _take_out(self, key: SessionKey, running: Running) -> None:
        outcome = running.worker.state
        checkpoint = self._delivery.close(key)
        if checkpoint is not None:
            self._checkpoints[key] = checkpoint
        now = monotonic()
        crashed = outcome is State.CRASHED
        self._rests[key] = Rest(now + _REST_AFTER_CRASH, inf) if crashed else Rest(now + _REST_AFTER_END, now)
        with self._lock:  # in one step, so that no total ever goes backwards
            del self._running[key]
            self._ended[key.server] = Counters.total((self._ended[key.server], _counters(running)))

    def _unfinished(self, name: str) -> Iterable[str]:
        return [
            key.session_id for key, each in self._checkpoints.items() if key.server == name and each.state == "active"
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

    def _say_what_is_left_alone(self) -> None:
        for name in {key.server for key in self._checkpoints} - set(self._sources):
            log.warning("checkpoints of a server that the settings do not name are left alone", server=name)
        for name, source in self._sources.items():
            if name not in self._discoveries:
                others = set(self._unfinished(name)) - set(source.settings.sessions)
                if others:
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
    readings, tally = running.worker.readings, running.outbox.tally
    return Counters(
        received=readings.received,
        published=running.outbox.published,
        skipped=tally.skipped,
        dead_letters=dict(running.outbox.dead_letters),
        refused=running.outbox.dead_letters.get("rejected", 0),
        rewinds=tally.rewinds,
        epochs_begun=tally.epochs,
        reconnects=readings.reconnects,
        resumed=readings.resumed,
        gaps=readings.gaps,
        missing_events=readings.missing_events,
        healed=readings.healed,
        resets=readings.resets,
        unresumable=readings.unresumable,
        bytes_read=running.worker.bytes_read,
        replaced_utf8=readings.replaced,
        discarded_tails=readings.discarded_tails,
        discarded_bytes=readings.discarded_bytes,
    )


def _session_snapshot(key: SessionKey, running: Running, now: float) -> SessionSnapshot:
    worker, outbox = running.worker, running.outbox
    position, acknowledged = outbox.position, outbox.acknowledged
    event_at, byte_at = worker.readings.last_event_at, worker.last_byte_at
    return SessionSnapshot(
        server=key.server,
        session=key.session_id,
        state=worker.state.value,
        last_event_id=position.last_event_id,
        epoch=position.epoch or None,
        sequence=position.sequence,
        acknowledged_sequence=_acknowledged_sequence(position.epoch, acknowledged),
        in_flight=outbox.in_flight,
        last_event_age=None if event_at is None else now - event_at,
        last_byte_age=None if byte_at is None else now - byte_at,
        last_error=outbox.trouble or outbox.positions.trouble or worker.readings.last_error,
        counters=_counters(running),
    )


def _acknowledged_sequence(epoch: int, acknowledged: Position | None) -> int:
    """Of the present epoch: nothing of it is acknowledged while the one before it is still under way."""
    return acknowledged.sequence if acknowledged is not None and acknowledged.epoch == epoch else 0
