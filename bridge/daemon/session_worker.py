"""One session's thread: connect, read, publish, reconnect, until the session ends or a stop is requested."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.stream.event import Event
from bridge.daemon.connection import Replay, StreamConnection
from bridge.daemon.read_linger import ReadLinger
from bridge.daemon.reader_watch import Waiting
from bridge.daemon.retirement import Retirement
from bridge.daemon.retries import Retries
from bridge.daemon.session_states import FINAL, Signal, State, next_state
from bridge.daemon.session_stream import EventWithoutId, ReconnectNow, SessionOver, SessionStream
from bridge.daemon.source import Source
from bridge.errors import Stopped
from bridge.sse.connection import Connector
from bridge.sse.reconnection import AskWithoutId, Disconnected, End, Kind, Outcome, RefusedId, Wait

_LEVELS = {Kind.ENDED: logging.INFO, Kind.BROKEN: logging.INFO, Kind.UNAUTHORIZED: logging.ERROR}
"""The log level for the end of a connection; warning for all others. Nobody but a person can fix credentials."""
HEAD_EXPECTED = 5.0
"""Seconds within which a server usually sends the response head."""


class SessionWorker:
    """The thread of one session.

    Thread rule: the supervisor calls ``start``, ``stop``, ``join`` and ``check_connection``; ``is_alive``, ``is_over``,
    ``state``, ``last_byte_at`` and ``bytes_read`` are for any thread.
    """

    def __init__(
        self,
        stream: SessionStream,
        source: Source,
        linger: ReadLinger,
        now: Callable[[], float] = monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """``jitter`` returns 0 to 1 and spreads reconnects."""
        self.stream = stream
        self.state = State.CONNECTING
        self.refused_at: float | None = None
        """When the session was refused because the server gives no ids."""
        self._source = source
        self._linger = linger
        self._now = now
        self._connector = Connector(source.endpoint, self._connected, stream.hold_unfinished)
        self._connected_at = float("-inf")
        self._connection: StreamConnection | None = None
        self._lost_at: float | None = None
        """When the stream was lost that the next connection replaces."""
        self.retries = Retries(source, stream.key.session_id, now, jitter)
        self._counters = stream.counters
        self.waiting = Waiting()
        self._retirement = Retirement(source, stream, jitter())
        self._log = get_logger("bridge.session").bind(server=stream.key.server, session=stream.key.session_id)
        self._thread = threading.Thread(target=self._run, name=f"session {stream.key}", daemon=True)

    def start(self) -> bool:
        """Start the thread. False if the system allows no more threads: the session is started again later."""
        try:
            self._thread.start()
        except RuntimeError as error:
            self.state, self._counters.last_error = State.CRASHED, str(error)
        return self._thread.ident is not None

    def stop(self) -> None:
        """Ask the thread to end; wakes each of its waits."""
        self.stream.stop()
        self._connector.stop()

    def join(self, deadline: float) -> bool:
        if self._thread.ident is not None:
            self._thread.join(max(0.0, deadline - monotonic()))
        return not self._thread.is_alive()

    def check_connection(self, busy: float) -> None:
        """End a connection that is too old or whose replay does not begin; the worker makes a new one.

        ``busy``: seconds for which the process was too busy to read.
        """
        connection, now = self._connection, self._now()
        if connection is None:
            if self.awaits_head(now):
                self._source.record_request(answered=True)
            return
        if self._retirement.is_due(connection, now, busy):
            self._connector.retire()

    def awaits_head(self, now: float) -> bool:
        """Whether the connection stands, and the response head has not come for a while (any thread)."""
        return self.state is State.WAITING_FOR_HEAD and now - self._connected_at > HEAD_EXPECTED

    @property
    def is_over(self) -> bool:
        """Whether the session has ended here, for any reason."""
        return self.state in FINAL

    @property
    def retries_refused(self) -> bool:
        """Whether a refused session may be tried again: a reader of a Mix server without ids takes part in runs."""
        return self._source.settings.event_schema != "mix"

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def last_byte_at(self) -> float | None:
        """When the last byte came on the present connection."""
        connection = self._connection
        return None if connection is None else connection.stream.last_byte_at

    @property
    def bytes_read(self) -> int:
        connection = self._connection
        return self._counters.bytes_read + (0 if connection is None else connection.stream.bytes_read)

    # The thread

    def _run(self) -> None:
        try:
            self.stream.attach()
            while not self.is_over:
                self._run_connection()
        except Stopped:
            self._become(Signal.STOP)
        except SessionOver as over:
            self._end(*over.args)
        except EventWithoutId:
            self._refuse()
        except Exception as error:  # noqa: BLE001 - one session's bug must not affect other sessions
            self._counters.last_error = f"bug: {type(error).__name__}"
            self._log.exception("a bug ended this session: it restarts from its position; please report the bug")
            self.state = State.CRASHED
        finally:
            self._connector.stop()
            self.retries.left()

    def _connected(self) -> None:
        self._connected_at = self._now()
        self._become(Signal.CONNECTED)

    def _become(self, signal: Signal) -> None:
        self.state = next_state(self.state, signal)

    def _run_connection(self) -> None:
        try:
            outcome = self._read()
        except ReconnectNow:
            self._reconnect(0.0)
        else:
            self._follow(outcome)

    def _read(self) -> Outcome:
        """Read one connection, from its request to its end."""
        connection = None
        try:
            connection = self._connect()
            events = self._first(connection)
            self.stream.opened(events)
            while True:
                self._take(connection, events)
                events = connection.read(self.waiting, self._linger.seconds(connection.stream.last_byte_at))
        except Disconnected as end:
            outcome = end.outcome
            if connection is None and outcome.kind is not Kind.STOPPED:
                answered = outcome.status is not None or outcome.kind is Kind.NO_HEAD
                self._source.record_request(answered=answered, failure=outcome.detail)
            return outcome
        finally:
            if connection is not None:
                self._close(connection)

    def _connect(self) -> StreamConnection:
        last_event_id = self.stream.next_request_id()
        with self.waiting:
            if not self._source.connection_rate.wait(self.stream.stopped):
                raise Stopped
            requested_at, self._connector.endpoint = self._now(), self._source.endpoint
            stream = self._connector.connect(self._source.stream_url(self.stream.key.session_id), last_event_id)
        self._source.record_request(answered=True)
        if self._lost_at is not None:
            self._source.reconnect_duration.observe(self._now() - self._lost_at)
        self.stream.connected(stream.answered_id)
        self._connection = StreamConnection(
            stream, self._now(), self.stream.replay_timeout, requested_at, peer=self._connector.peer
        )
        self._become(Signal.OPENED)
        self._log.info("connected", last_event_id=stream.last_event_id)
        return self._connection

    def _first(self, connection: StreamConnection) -> list[Event]:
        """The first events. An error event as the whole answer is an old server's 404.

        Only if the server ended it: a connection that broke or was cut here may have had more.
        """
        events = connection.read(self.waiting)
        if not self._source.means_no_session(events):
            return events
        try:
            return events + connection.read(self.waiting)
        except Disconnected as end:
            if end.outcome.kind is Kind.ENDED and not self._connector.was_cut:
                raise Disconnected(Outcome(Kind.GONE, "the answer was one error event and the end", 200)) from end
            self.stream.opened(events)
            self._take(connection, events)
            raise

    def _take(self, connection: StreamConnection, events: list[Event]) -> None:
        self.stream.take(events, connection.stream)
        if self.stream.replay_timeout is None:
            connection.replay_began()

    def _close(self, connection: StreamConnection) -> None:
        stream = connection.stream
        stream.close()
        self._connection, self._lost_at = None, self._now()
        self.stream.closed(timed_out=connection.replay is Replay.TIMED_OUT)
        self._counters.add_connection(stream)
        is_new = not self.stream.has_only_known
        worked = connection.has_worked(self._now(), is_new=is_new) and not self.stream.is_repeating
        self.retries.closed(stream.reconnection_time, worked=worked)

    # Between two connections

    def _follow(self, outcome: Outcome) -> None:
        """Back off, drop the last event id, or end the session, depending on how the connection ended."""
        if self.stream.stopped.is_set():
            raise Stopped
        if self.stream.check_refused(about_id=outcome.may_be_about_id):
            self._back_off(outcome, self._source.backoff.minimum)
            return
        backoff = self._source.backoff
        may_ask = not self._source.readers_take_part
        decision = self.retries.after(outcome, may_drop_id=self.stream.may_drop_id, may_ask=may_ask)
        match decision:
            case Wait(seconds):
                self._back_off(outcome, seconds)
            case RefusedId(detail):
                has_dropped = self.stream.drop_refused_id(detail)
                self._back_off(outcome, backoff.minimum if has_dropped else backoff.maximum)
            case AskWithoutId(seconds):
                self.retries.asked_without_id(accepted=self._accepts_without_id())
                self._back_off(outcome, seconds)
            case End():
                self._end("gone", f"the server has no such session ({outcome.detail})")

    def _accepts_without_id(self) -> bool:
        """Whether the server accepts the stream's request if it has no ``Last-Event-ID``. The answer is not read.

        A server that sends its response head only with the first event accepts by silence, for the read timeout.
        """
        try:
            with self.waiting:
                if not self._source.connection_rate.wait(self.stream.stopped):
                    raise Stopped
                self._connector.connect(self._source.stream_url(self.stream.key.session_id), "").close()
        except Disconnected as end:
            return end.outcome.kind is Kind.NO_HEAD
        return True

    def _back_off(self, outcome: Outcome, seconds: float) -> None:
        if outcome.kind not in {Kind.ENDED, Kind.NO_HEAD}:
            self._counters.last_error = outcome.detail
        self._log.log(
            _LEVELS.get(outcome.kind, logging.WARNING), "disconnected",
            reason=outcome.kind.value, detail=outcome.detail, reconnect_in=round(seconds, 3),
        )  # fmt: skip
        self._reconnect(seconds)

    def _reconnect(self, seconds: float) -> None:
        self._become(Signal.LOST)
        with self.waiting:
            if self.stream.stopped.wait(seconds):
                raise Stopped
        self._counters.reconnects += 1
        self._become(Signal.RETRY)

    def _end(self, reason: str, detail: str) -> None:
        self.stream.end(reason, detail)
        self._become(Signal.GONE)

    def _refuse(self) -> None:
        self.refused_at = self._now()
        self._counters.last_error = "the server sends events without ids"
        self._log.error(
            "session stopped: the server sends events without ids, so each lost connection loses events."
            " Set without_ids=accept to bridge it nevertheless",
            setting=f"servers.{self.stream.key.server}.without_ids",
        )
        self._become(Signal.NO_IDS)
