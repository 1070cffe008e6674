"""One session's loop: connect, read, hand over, reconnect, until the session is over or a stop is asked for."""

from __future__ import annotations

import logging
import random
import threading
import zlib
from collections.abc import Callable, Sequence
from typing import Literal

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.checkpoint_history import Restored
from bridge.core.identity import SessionKey, sendable
from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.stream.continuity import Action, Announce, NoIds, Publish, Reconnect, StartEpoch, UncertainIds
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow
from bridge.daemon.counters import SessionCounters
from bridge.daemon.session_states import FINAL, Signal, State, next_state
from bridge.daemon.source import Source
from bridge.daemon.stall import LONGEST_STAND, StallDetector
from bridge.delivery.lease import Lease
from bridge.delivery.protocol import Publisher
from bridge.errors import Stopped
from bridge.mix.deletion import deletes
from bridge.sse.connection import Connector
from bridge.sse.event_stream import EventStream
from bridge.sse.reconnection import (
    Disconnected,
    End,
    History,
    Kind,
    Outcome,
    RefusedId,
    Wait,
    after_block,
    decide,
    with_reconnection_time,
)

log = get_logger("bridge.session")

_HINTS = frozenset({"session_created", "session_deleted"})
_ORDINARY = frozenset({"attached", "resumed", "ended"})
_LEVELS = {Kind.ENDED: logging.INFO, Kind.BROKEN: logging.INFO, Kind.UNAUTHORIZED: logging.ERROR}
"""How loud the end of a connection is; others are warnings. Refused credentials do not mend themselves."""
_REPLAY_WITHIN = 10.0
"""Seconds for the first known event of a replay to come: a server has it in memory, and sends it before all else."""
_LASTING = 5.0
"""Seconds after which a connection that moved no id counts as one that worked: heartbeats come more seldom than that,
and a server asked every five seconds is not flooded."""


class _Over(Exception):
    """The server said that the session was deleted."""


class _NoIds(Exception):
    """An event came without an id, and the settings refuse that."""


class _Again(Exception):
    """Another connection is wanted at once."""


class SessionWorker:
    """One session's worker.

    Thread rule: ``start``, ``stop``, ``join`` and ``retire_if_older`` by the supervisor; the rest is its own thread's.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what one session's worker is given, once
        self,
        key: SessionKey,
        source: Source,
        publisher: Publisher,
        restored: Restored | None,
        lease: Lease,
        stall_detector: StallDetector,
        hint: Callable[[], None],
    ) -> None:
        """``hint`` is called when an event says that the server's list of sessions has changed."""
        self.key = key
        self.state = State.CONNECTING
        self.session_counters = SessionCounters()
        self._source = source
        self._publisher = publisher
        self._restored = restored
        self._lease = lease
        self._stall_detector = stall_detector
        self._hint = hint
        self._connector: Connector = source.connector()
        self._stream: EventStream | None = None
        self._connected_at: float | None = None
        self._haste = zlib.crc32(key.record_key) / 2**32 / 10
        self._stopped = threading.Event()
        self._history = History()
        self._continuity = source.continuity(None if restored is None else restored.checkpoint)
        self._sent = ""
        self._has_begun = False
        """Whether this worker began the present epoch: then all that is in Kafka of it is known."""
        self._was_answered = False
        """Whether the server has had a stream for this session: then a refusal is not about ``start_after_id``."""
        self._opened_at = self._stood_at = 0.0
        self._awaits_since: float | None = None
        self._has_lapsed = False
        self._opened_after = ""
        self._log = log.bind(server=key.server, session=key.session_id)
        self._thread = threading.Thread(target=self._run, name=f"session {key}", daemon=True)

    def start(self) -> None:
        """Start the worker's thread; where the system gives no more threads, the session is tried again later."""
        try:
            self._thread.start()
        except RuntimeError as error:
            self.session_counters.last_error = str(error)
            self._log.error("no thread for this session: the limits of this process are too low for so many")
            self.state = State.CRASHED

    def stop(self) -> None:
        """Ask for the end; wakes whatever the worker waits for."""
        self._stopped.set()
        self._connector.stop()
        self._publisher.stop()

    def join(self, deadline: float) -> bool:
        """Wait for the thread until ``deadline`` (:func:`bridge.clock.monotonic`); True when it has ended."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, deadline - monotonic()))
        return not self._thread.is_alive()

    @property
    def is_over(self) -> bool:
        """The thread has nothing more to do."""
        return self.state in FINAL

    def retire_if_older(self, age: float) -> None:
        """End a connection older than ``age`` seconds, or up to a tenth less; the worker makes a new one.

        Each session has its own share of that tenth: connections made together do not all end together.
        """
        connected_at = self._connected_at
        if connected_at is not None and monotonic() - connected_at > age * (1 - self._haste):
            self._connected_at = None
            self._connector.retire()

    def retire_if_unproven(self, late: float = 0.0) -> None:
        """End a connection whose replay has not begun for long: nothing wakes a reader to which nothing is sent.

        The process was ``late`` seconds, busy with others: what came meanwhile may lie unread, and they do not count.
        """
        since = self._awaits_since
        if since is not None and late:
            self._awaits_since = since + late
        elif since is not None and monotonic() - since > _REPLAY_WITHIN:
            self._awaits_since = None
            self._has_lapsed = True
            self._connector.retire()

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    @property
    def last_byte_at(self) -> float | None:
        """When the last byte came on the present connection."""
        stream = self._stream
        return None if stream is None else stream.last_byte_at

    @property
    def bytes_read(self) -> int:
        """Bytes of all connections."""
        stream = self._stream
        return self.session_counters.bytes_read + (0 if stream is None else stream.bytes_read)

    # The worker's thread

    def _run(self) -> None:
        try:
            self._attach()
            while not self.is_over:
                outcome = self._read()
                if outcome is None:
                    self._reconnect()
                else:
                    self._follow(outcome)
        except Stopped:
            self._become(Signal.STOP)
        except _Over:
            self._end("deleted", "the server deleted the session")
        except _NoIds:
            self._refuse()
        except Exception as error:  # noqa: BLE001 - one session's bug must not touch another session
            self.session_counters.last_error = f"bug: {type(error).__name__}"
            self._log.exception("a bug ended this session's worker: it is started again from its position")
            self.state = State.CRASHED
        finally:
            self._connector.stop()

    def _become(self, signal: Signal) -> None:
        self.state = next_state(self.state, signal)

    def _attach(self) -> None:
        """Take the position up, or begin: a first position is acknowledged before the first record is produced."""
        start = self._source.settings.start_after_id
        if self._restored is None:
            self._begin_epoch(OverlapWindow.starting(start))
            self._log.info("new session", start_after_id=start)
            return
        restored, is_stale = self._restored.checkpoint, self._restored.is_stale
        self._restored = None  # it is in the outbox by now
        self._was_answered = restored.position.last_event_id not in ("", start)
        if is_stale:
            detail = "a process that had lost this session wrote a position after that: numbered anew, some may repeat"
            self._begin_epoch(restored.overlap_window, self._lifecycle_event("resumed", "late_checkpoint", detail))
        elif restored.fingerprint != self._source.fingerprint:
            detail = "settings that decide what is numbered, and where it goes, have changed: numbered anew"
            self._begin_epoch(restored.overlap_window, self._lifecycle_event("resumed", "settings_changed", detail))

    def _begin_epoch(self, overlap_window: OverlapWindow, why: LifecycleEvent | None = None) -> None:
        self._has_begun = True
        self._publisher.begin_epoch(overlap_window, why)
        if why is not None:
            self._tell(why)

    def _prove_ownership(self) -> None:
        """Wait until it is certain that the session is still this process's; raises ``Stopped`` when it is not."""
        if not self._lease.prove(self._stopped.is_set):
            raise Stopped

    def _lifecycle_event(
        self, kind: Literal["resumed", "unresumable", "ended"], reason: str, detail: str, to: str | None = None
    ) -> LifecycleEvent:
        before = self._publisher.position.last_event_id
        return LifecycleEvent(kind, reason, detail, before, before if to is None else to)

    def _read(self) -> Outcome | None:
        """One connection, from its request to its end; None when another is wanted at once."""
        stream = None
        try:
            stream = self._connect()
            self._opened(stream)
            events = self._first(stream)
            self._perform(self._continuity.opened())
            while True:
                self._take(events)
                events = stream.read()
        except _Again:
            return None
        except Disconnected as end:
            if stream is None and end.outcome.kind is not Kind.STOPPED:
                self._source.noted(answered=end.outcome.status is not None)
            return end.outcome
        finally:
            if stream is not None:
                self._closed(stream)

    def _connect(self) -> EventStream:
        cursor = self._publisher.position.last_event_id
        is_used = not self._has_begun or self._publisher.position.sequence > 0
        self._sent, actions = self._continuity.begin(self._publisher.overlap_window, is_used=is_used, cursor=cursor)
        if not sendable(cursor):
            self._log.error("HTTP cannot carry the last event id: resuming after an earlier one", sent=self._sent)
        self._perform(actions)
        if not self._source.await_turn(self._stopped):
            raise Stopped
        return self._connector.connect(self._source.stream_url(self.key.session_id), self._sent)

    def _opened(self, stream: EventStream) -> None:
        self._source.noted(answered=True)
        self._stream = stream
        self._was_answered = True
        self._opened_at = self._connected_at = self._stood_at = monotonic()
        self._awaits_since = self._opened_at if self._continuity.awaits_replay else None
        self._opened_after = stream.last_event_id
        self._become(Signal.OPENED)
        self._log.info("connected", last_event_id=stream.last_event_id)

    def _closed(self, stream: EventStream) -> None:
        stream.close()
        self._stream = self._connected_at = self._awaits_since = None
        if self._has_lapsed:
            self._has_lapsed = False
            if self._continuity.awaits_replay:
                self._perform(self._continuity.lapse())
        session_counters = self.session_counters
        session_counters.bytes_read += stream.bytes_read
        session_counters.replaced += stream.replaced
        session_counters.discarded_bytes += stream.discarded_bytes
        session_counters.discarded_tails += stream.discarded_bytes > 0
        self._history = with_reconnection_time(self._history, stream.reconnection_time)
        if stream.blocks and self._has_worked(stream):
            self._history = after_block(self._history)

    def _has_worked(self, stream: EventStream) -> bool:
        """Whether the next try may come soon: a block alone may be an old server's word for "no such session"."""
        return stream.last_event_id != self._opened_after or monotonic() - self._opened_at >= _LASTING

    def _first(self, stream: EventStream) -> list[Event]:
        """The first events; an error alone, with nothing before it and the end behind it, is an old server's 404."""
        events = stream.read()
        if not self._source.is_refusal(events):
            return events
        try:
            return events + stream.read()
        except Disconnected as end:
            if end.outcome.kind in (Kind.ENDED, Kind.BROKEN):
                raise Disconnected(Outcome(Kind.GONE, "the answer was one error event and the end", 200)) from end
            self._take(events)
            raise

    def _take(self, events: list[Event]) -> None:
        """Some events, in the order of the stream."""
        self._stall_detector.beat()
        now = monotonic()  # after it: a stand that this very beat notices is not to be noticed again
        self.session_counters.last_error = None
        stood = self._stall_detector.stood_since(self._stood_at)
        if stood:
            self._prove_ownership()
            self._stood_at = now
            self._perform(self._continuity.stood_still(events, stood, now))
        else:
            self._perform(self._continuity.take(events, now))
        if not self._continuity.awaits_replay:
            self._awaits_since = None
        waited = monotonic() - now
        if waited > LONGEST_STAND:  # for room: what the connection holds by now is as old
            self._stood_at = now + waited
            self._perform(self._continuity.stood_still((), waited, now + waited))

    def _perform(self, actions: Sequence[Action]) -> None:
        """Do what continuity asks for, in this order."""
        for action in actions:
            match action:
                case Publish(events):
                    self._publish(events)
                case Announce(lifecycle_event):
                    self._publisher.announce(lifecycle_event)
                    self._tell(lifecycle_event)
                case StartEpoch(lifecycle_event, overlap_window, certain):
                    overlap_window = (
                        self._publisher.overlap_window.unproven() if overlap_window is None else overlap_window
                    )
                    self._begin_epoch(overlap_window._replace(certain=certain), lifecycle_event)
                case Reconnect(why):
                    self._log.info("connecting anew", why=why)
                    raise _Again
                case UncertainIds():
                    self._log.warning("some events have no id: after a reconnect the session is numbered anew")
                    self._publisher.doubt()
                case NoIds():
                    raise _NoIds

    def _tell(self, event: LifecycleEvent) -> None:
        """The log and the counters say what the lifecycle topic says."""
        self.session_counters.note(event, self._continuity.healed)
        level = self._log.info if event.kind in _ORDINARY else self._log.error
        level(
            f"session {event.kind}", reason=event.reason, detail=event.detail, missing=event.missing,
            from_last_event_id=event.from_last_event_id, to_last_event_id=event.to_last_event_id,
        )  # fmt: skip

    def _publish(self, events: Sequence[Event]) -> None:
        session_counters = self.session_counters
        session_counters.received += len(events)
        session_counters.last_event_at = monotonic()
        self._publisher.submit(events)
        if not _HINTS.isdisjoint({event.name for event in events}):
            self._follow_hints(events)

    def _follow_hints(self, events: Sequence[Event]) -> None:
        self._hint()
        if any(deletes(each, self.key.session_id) for each in events):
            raise _Over

    # Between two connections

    def _follow(self, outcome: Outcome) -> None:
        """Wait, give up the id, or end the session, as the outcome of a connection asks for."""
        if self._stopped.is_set():
            raise Stopped
        decision, self._history = decide(
            self._history,
            outcome,
            now=monotonic(),
            jitter=random.random(),  # noqa: S311 - spreads reconnects, keeps no secret
            backoff=self._source.backoff,
            gone_after=self._source.settings.gone_after,
        )
        match decision:
            case Wait(seconds):
                self._pause(outcome, seconds)
            case RefusedId():
                self._give_up_id(outcome)
            case End():
                self._end("gone", f"the server has no such session ({outcome.detail})")

    def _pause(self, outcome: Outcome, seconds: float) -> None:
        if outcome.kind is not Kind.ENDED:
            self.session_counters.last_error = outcome.detail
        self._log.log(
            _LEVELS.get(outcome.kind, logging.WARNING), "disconnected",
            reason=outcome.kind.value, detail=outcome.detail, reconnect_in=round(seconds, 3),
        )  # fmt: skip
        self._reconnect(seconds)

    def _reconnect(self, seconds: float = 0.0) -> None:
        self._become(Signal.LOST)
        if self._stopped.wait(seconds):
            raise Stopped
        self.session_counters.reconnects += 1
        self._become(Signal.RETRY)

    def _give_up_id(self, outcome: Outcome) -> None:
        start, refused = self._source.settings.start_after_id, self._sent
        if not refused or (refused == start and self._was_answered):
            # It refuses us without any id, or although it once took the one to begin with: none is left to give up.
            # To ask without would skip what is sent meanwhile, for what may be a proxy's trouble.
            self._pause(outcome, self._source.backoff.maximum)
            return
        resume_after = "" if refused == start else start
        self._continuity.forget_ids()  # whoever forgets its ids may be another server by now
        detail = f"the server refuses the last event id ({outcome.detail}): all it has is fetched anew"
        lifecycle_event = self._lifecycle_event("unresumable", "refused_id", detail, to=resume_after)
        self._begin_epoch(OverlapWindow.starting(resume_after), lifecycle_event)
        self._pause(outcome, self._source.backoff.minimum)

    def _end(self, reason: str, detail: str) -> None:
        lifecycle_event = self._lifecycle_event("ended", reason, detail)
        self._publisher.end(lifecycle_event)
        self._tell(lifecycle_event)
        self._become(Signal.GONE)

    def _refuse(self) -> None:
        self.session_counters.last_error = "the server sends events without ids"
        self._log.error(
            "the server sends events without ids, so a lost connection loses events: session stopped."
            " To bridge it all the same set without_ids=accept",
            setting=f"servers.{self.key.server}.without_ids",
        )
        self._become(Signal.NO_IDS)
