"""One session's loop: connect, read, hand over, reconnect, until the session is over or a stop is asked for."""

from __future__ import annotations

import json
import random
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.checkpoint import Checkpoint
from bridge.core.event import Event
from bridge.core.identity import SessionKey
from bridge.core.records import CONNECTION_EVENTS
from bridge.core.states import FINAL, Signal, State, next_state
from bridge.daemon.source import Source
from bridge.delivery.protocol import Outbox
from bridge.errors import Stopped
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
    sendable,
    with_reconnection_time,
)

log = get_logger("bridge.session")

_HINTS = frozenset({"session_created", "session_deleted"})
_LASTING = 5.0
"""Seconds after which a connection that moved no id counts as one that worked: heartbeats come more seldom than that,
and a server asked every five seconds is not flooded."""


class _Over(Exception):
    """The server said that the session was deleted."""


class _NoIds(Exception):
    """An event came without an id, and the settings refuse that."""


@dataclass(slots=True)
class Readings:
    """What a worker has seen; written by its thread, read by any."""

    received: int = 0
    reconnects: int = 0
    bytes_read: int = 0
    replaced: int = 0
    discarded_tails: int = 0
    discarded_bytes: int = 0
    unresumable: int = 0
    last_event_at: float | None = None
    last_error: str | None = None


class Worker:
    """One session's worker.

    Thread rule: ``start``, ``stop``, ``join`` and ``retire_if_older`` by the supervisor; the rest is its own thread's.
    """

    def __init__(
        self,
        key: SessionKey,
        source: Source,
        outbox: Outbox,
        restored: Checkpoint | None,
        hint: Callable[[], None],
    ) -> None:
        """``hint`` is called when an event says that the server's list of sessions has changed."""
        self.key = key
        self.state = State.CONNECTING
        self.readings = Readings()
        self._source = source
        self._outbox = outbox
        self._restored = restored
        self._hint = hint
        self._connector: Connector = source.connector()
        self._stream: EventStream | None = None
        self._connected_at: float | None = None
        self._haste = zlib.crc32(key.record_key) / 2**32 / 10
        self._stopped = threading.Event()
        self._history = History()
        self._sendable_id = ""
        self._has_ids = False
        self._was_answered = False
        """Whether the server has had a stream for this session: then a refusal is not about ``start_after_id``."""
        self._opened_at = 0.0
        self._opened_after = ""
        self._log = log.bind(server=key.server, session=key.session_id)
        self._thread = threading.Thread(target=self._run, name=f"session {key}", daemon=True)

    def start(self) -> None:
        """Start the worker's thread; where the system gives no more threads, the session is tried again later."""
        try:
            self._thread.start()
        except RuntimeError as error:
            self.readings.last_error = str(error)
            self._log.error("no thread for this session: the limits of this process are too low for so many")
            self.state = State.CRASHED

    def stop(self) -> None:
        """Ask for the end; wakes whatever the worker waits for."""
        self._stopped.set()
        self._connector.stop()
        self._outbox.stop()

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

    @property
    def last_byte_at(self) -> float | None:
        """When the last byte came on the present connection."""
        stream = self._stream
        return None if stream is None else stream.last_byte_at

    @property
    def bytes_read(self) -> int:
        """Bytes of all connections."""
        stream = self._stream
        return self.readings.bytes_read + (0 if stream is None else stream.bytes_read)

    # The worker's thread

    def _run(self) -> None:
        try:
            self._attach()
            while not self.is_over:
                self._follow(self._read())
        except Stopped:
            self._become(Signal.STOP)
        except _Over:
            self._end("the server deleted it")
        except _NoIds:
            self._refuse()
        except Exception as error:  # noqa: BLE001 - one session's bug must not touch another session
            self.readings.last_error = f"bug: {type(error).__name__}"
            self._log.exception("a bug ended this session's worker: it is started again from its position")
            self.state = State.CRASHED
        finally:
            self._connector.stop()

    def _become(self, signal: Signal) -> None:
        self.state = next_state(self.state, signal)

    def _attach(self) -> None:
        """Take the position up, or begin: a first position is acknowledged before the first record is produced."""
        restored, source = self._restored, self._source
        start = source.settings.start_after_id
        if restored is None:
            self._outbox.begin_epoch(start)
            self._log.info("new session", start_after_id=start)
            return
        last_event_id = restored.position.last_event_id
        self._has_ids = self._was_answered = last_event_id not in ("", start)
        self._sendable_id = start
        if restored.fingerprint != source.fingerprint:
            self._outbox.begin_epoch(last_event_id)
            self._log.warning("settings that decide what is numbered, and where it goes, have changed: new epoch")
        elif not restored.position.sequence and self._may_get_others(last_event_id):
            # More may have been published than the checkpoint knows. Numbers given twice, to other events, are dropped
            # by consumers. Beyond sequence 0 the first request sees to it.
            self._outbox.begin_epoch(last_event_id)
            self._log.warning("what the server sends now may not be what it sent before the restart: new epoch")

    def _may_get_others(self, last_event_id: str) -> bool:
        """Whether a request with this id may bring other events than the same request before."""
        return last_event_id == "" or (self._source.settings.without_ids == "accept" and not self._has_ids)

    def _read(self) -> Outcome:
        """One connection, from its request to its end."""
        stream = None
        try:
            stream = self._connector.connect(self._source.stream_url(self.key.session_id), self._resume_after())
            self._opened(stream)
            while True:
                self._take(stream.read())
        except Disconnected as end:
            if stream is None and end.outcome.kind is not Kind.STOPPED:
                self._source.noted(answered=end.outcome.status is not None)
            return end.outcome
        finally:
            if stream is not None:
                self._closed(stream)

    def _opened(self, stream: EventStream) -> None:
        self._source.noted(answered=True)
        self._stream = stream
        self._was_answered = True
        self._opened_at = self._connected_at = monotonic()
        self._opened_after = stream.last_event_id
        self._become(Signal.OPENED)
        self._log.info("connected", last_event_id=stream.last_event_id)

    def _closed(self, stream: EventStream) -> None:
        stream.close()
        self._stream = self._connected_at = None
        readings = self.readings
        readings.bytes_read += stream.bytes_read
        readings.replaced += stream.replaced
        readings.discarded_bytes += stream.discarded_bytes
        readings.discarded_tails += stream.discarded_bytes > 0
        self._history = with_reconnection_time(self._history, stream.reconnection_time)
        if stream.blocks and self._has_worked(stream):
            self._history = after_block(self._history)

    def _has_worked(self, stream: EventStream) -> bool:
        """Whether the next try may come soon: a block alone may be an old server's word for "no such session"."""
        return stream.last_event_id != self._opened_after or monotonic() - self._opened_at >= _LASTING

    def _take(self, events: list[Event]) -> None:
        """Some events, in the order of the stream."""
        names = {event.name for event in events}
        if not names.isdisjoint(CONNECTION_EVENTS):
            events = [event for event in events if event.name not in CONNECTION_EVENTS]
        readings = self.readings
        readings.last_error = None
        if not events:
            return
        readings.received += len(events)
        readings.last_event_at = monotonic()
        if not self._has_ids:
            self._look_for_ids(events)
        self._outbox.submit(events)
        if not names.isdisjoint(_HINTS):
            self._follow_hints(events)

    def _look_for_ids(self, events: list[Event]) -> None:
        """Until the first id is seen, an event without one means a server without ids."""
        for index, event in enumerate(events):
            if event.id:
                self._has_ids = True
                return
            if event.name and self._source.settings.without_ids == "refuse":
                self._outbox.submit(events[:index])
                raise _NoIds

    def _follow_hints(self, events: list[Event]) -> None:
        self._hint()
        if any(each.name == "session_deleted" and _session_in(each.data) == self.key.session_id for each in events):
            raise _Over

    # Between two connections

    def _resume_after(self) -> str:
        """The id to resume after. Where that is not certain, what comes is numbered in a new epoch."""
        position = self._outbox.position
        last_event_id = position.last_event_id
        if not sendable(last_event_id):
            earlier = self._sendable_id
            self._log.error("HTTP cannot carry the last event id: resuming after an earlier one", resume_after=earlier)
            self._outbox.begin_epoch(earlier)
            return earlier
        if position.sequence and not (self._has_ids and last_event_id):
            # Without ids the position is still the one the session began with, or empty: not where the stream stands.
            self.readings.unresumable += 1
            self._log.warning("unresumable: the server gives no ids, events sent meanwhile are lost; new epoch")
            self._outbox.begin_epoch(last_event_id)
        self._sendable_id = last_event_id
        return last_event_id

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
                self._end(f"the server has no such session ({outcome.detail})")

    def _pause(self, outcome: Outcome, seconds: float) -> None:
        if outcome.kind is not Kind.ENDED:
            self.readings.last_error = outcome.detail
        level = self._log.info if outcome.kind in (Kind.ENDED, Kind.BROKEN) else self._log.warning
        level("disconnected", reason=outcome.kind.value, detail=outcome.detail, reconnect_in=round(seconds, 3))
        self._become(Signal.LOST)
        if self._stopped.wait(seconds):
            raise Stopped
        self.readings.reconnects += 1
        self._become(Signal.RETRY)

    def _give_up_id(self, outcome: Outcome) -> None:
        start, refused = self._source.settings.start_after_id, self._outbox.position.last_event_id
        if not refused or (refused == start and self._was_answered):
            # It refuses us without any id, or although it once took the one to begin with: none is left to give up.
            # To ask without would skip what is sent meanwhile, for what may be a proxy's trouble.
            self._pause(outcome, self._source.backoff.maximum)
            return
        resume_after = "" if refused == start else start
        self.readings.unresumable += 1
        self._log.error(
            "unresumable: the server refuses the last event id; new epoch", refused=refused, resume_after=resume_after,
            detail=outcome.detail,
        )  # fmt: skip
        self._has_ids = False  # looked for again: whoever forgets its ids may be another server by now
        self._outbox.begin_epoch(resume_after)
        self._pause(outcome, self._source.backoff.minimum)

    def _end(self, why: str) -> None:
        self._log.info("session ended", why=why)
        self._outbox.end()
        self._become(Signal.GONE)

    def _refuse(self) -> None:
        self.readings.last_error = "the server sends events without ids"
        self._log.error(
            "the server sends events without ids, so a lost connection loses events: session stopped."
            " To bridge it all the same set without_ids=accept",
            setting=f"servers.{self.key.server}.without_ids",
        )
        self._become(Signal.NO_IDS)


def _session_in(data: str) -> object:
    """The ``sessionId`` of an event's data, if it has one."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value.get("sessionId") if isinstance(value, dict) else None
