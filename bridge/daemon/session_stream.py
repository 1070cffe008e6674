"""Publishes one session's stream: each read is judged by Continuity, and its actions are carried out here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Literal

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.checkpoint_history import Restored
from bridge.core.identity import SessionKey, sendable
from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.stream.actions import Action, Announce, NoIds, Publish, Reconnect, StartEpoch, TakesPart, UncertainIds
from bridge.core.stream.event import Event
from bridge.core.stream.facts import after_start
from bridge.core.stream.overlap import OverlapWindow
from bridge.core.stream.start_check import first_mark
from bridge.daemon.rate_limit import LifecycleLimit
from bridge.daemon.session_log import Runs, SessionCounters, SessionLog
from bridge.daemon.source import Source
from bridge.daemon.stall import STALL_LIMIT, StallDetector
from bridge.delivery.lease import Lease
from bridge.delivery.publisher import SessionPublisher
from bridge.errors import Stopped
from bridge.mix.events import deletes
from bridge.sse.event_stream import EventStream

log = get_logger("bridge.session")

_LITTLE = 4096
"""Unread bytes of a socket that the smallest buffer holds, also if each event came in a segment of its own."""
_LISTING_EVENTS = frozenset({"session_created", "session_deleted"})
_OTHER_READER = "currently processing another request"
"""In an ``error`` event of a Mix server without ids: another reader of the session runs the message."""


class SessionOver(Exception):
    """The session has ended: the arguments are the reason and the detail."""


class EventWithoutId(Exception):
    """An event came without an id, and the settings refuse that."""


class ReconnectNow(Exception):
    """The connection must be replaced at once."""


class SessionStream:
    """One session's stream, from its restored position on, over all its connections.

    Thread rule: the session's worker, except for ``stop`` (any), ``counters`` and ``runs`` (see there).
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what one session needs, given once
        self,
        key: SessionKey,
        source: Source,
        publisher: SessionPublisher,
        restored: Restored | None,
        lease: Lease,
        stall_detector: StallDetector,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self.key = key
        self.counters = SessionCounters()
        self.runs = Runs(self.counters, has_runs=source.settings.event_schema == "mix")
        self.stopped = threading.Event()
        self._source = source
        self._publisher = publisher
        self._restored = restored
        self._lease, self._stall_detector = lease, stall_detector
        self.hold_unfinished = publisher.hold_unfinished
        self._now = now
        self._continuity = source.continuity(None if restored is None else restored.checkpoint)
        self._lifecycle_limit = LifecycleLimit()
        self._requested_id = ""
        self._started_epoch = False
        """Whether this process started the present epoch: then it knows all its records in Kafka."""
        self._was_streamed = False
        """Whether the server has streamed this session before: then a refusal is not about ``start_after_id``."""
        self._has_ended = restored is not None and restored.checkpoint.state == "ended"
        """Whether the stored checkpoint says that the session has ended, and its stream has not come since."""
        self._checked_at = 0.0
        """Stalls until this moment are dealt with."""
        self._session_log = SessionLog(key, self.counters)
        self._log = log.bind(server=key.server, session=key.session_id)

    def stop(self) -> None:
        """Refuse further events and wake each wait (any thread)."""
        self.stopped.set()
        self._publisher.stop()

    def attach(self) -> None:
        """Continue at the restored position, or start the first epoch, which is acknowledged before its records."""
        start = self._source.settings.start_after_id
        restored, self._restored = self._restored, None  # the publisher has it by now
        if restored is None:
            self._start_epoch(OverlapWindow.starting(start)._replace(is_new=True))
            self._log.info("new session", start_after_id=start)
            return
        checkpoint = restored.checkpoint
        self._was_streamed = checkpoint.position.last_event_id not in ("", start)
        if not self._has_ended:
            self._source.gone_sessions.restored(self.key.session_id)
        if restored.is_stale:
            reason, detail = "late_checkpoint", "a former owner wrote a checkpoint after it had lost this session"
        elif checkpoint.fingerprint != self._source.fingerprint:
            reason, detail = (
                "settings_changed",
                "what is published, what the topics accept, the guarantee, or the version of the records has changed",
            )
        else:
            return
        event = self._lifecycle_event("resumed", reason, f"{detail}: a new epoch starts, some events may be repeated")
        self._start_epoch(checkpoint.overlap_window, event)

    def next_request_id(self) -> str:
        """The id after which the next connection resumes; may start a new epoch."""
        cursor = self._publisher.position.last_event_id
        is_used = not self._started_epoch or self._publisher.position.sequence > 0
        window = self._publisher.overlap_window
        self._source.report_first_id()
        self._requested_id, actions = self._continuity.begin(window, is_used=is_used, cursor=cursor)
        if not sendable(cursor):
            self._log.error("HTTP cannot carry the last event id: resuming after an earlier one", id=self._requested_id)
        self._perform(actions)
        return self._requested_id

    def connected(self, answered_id: str | None) -> None:
        """The server answered with a stream. ``opened`` follows when its first events belong to this session."""
        self._was_streamed = True
        self._has_ended = False
        self._source.gone_sessions.streamed(self.key.session_id)
        self._continuity.answered(answered_id)
        self._checked_at = self._now()

    def opened(self, events: Sequence[Event]) -> None:
        """The answer is this session's stream and begins with these events. Raises ``EventWithoutId``."""
        if self._continuity.refuses(events):
            raise EventWithoutId
        self._perform(self._continuity.opened())

    @property
    def replay_timeout(self) -> float | None:
        """Seconds within which the first known event must come; None if none is awaited."""
        return self._continuity.replay_timeout if self._continuity.awaits_replay else None

    @property
    def is_repeating(self) -> bool:
        """Whether the present connection brings events again that are published already."""
        return self._continuity.is_repeating

    @property
    def has_only_known(self) -> bool:
        """Whether the present connection brought known events and no others."""
        return self._continuity.has_only_known

    @property
    def has_ids(self) -> bool:
        return self._continuity.has_ids

    def take(self, events: Sequence[Event], stream: EventStream) -> None:
        """Publish the next events of ``stream``. Raises ``ReconnectNow``, ``SessionOver``, ``EventWithoutId``.

        Blocks while the memory budget is used up; raises ``Stopped`` after a stop.
        """
        self._stall_detector.heartbeat()
        now = self._now()  # after the heartbeat: a stall that this heartbeat detects must not be detected twice
        self.counters.last_error = None
        stalled = self._stall_detector.stalled_since(self._checked_at)
        if stalled:
            if not self._lease.prove(self.stopped.is_set):
                raise Stopped
            self._checked_at = now
            self._perform(self._continuity.stalled(events, stalled, now))
        else:
            self._perform(self._continuity.take(events, now))
        blocked = self._now() - now
        # It waited for memory or for the interpreter: what the socket holds by now is as old. If that is little, the
        # server could send all the time, and has dropped nothing.
        if blocked > STALL_LIMIT and stream.unread > _LITTLE:
            self._checked_at = now + blocked
            self._perform(self._continuity.stalled((), blocked, now + blocked))

    def closed(self, *, timed_out: bool) -> None:
        """The connection ended; ``timed_out``: because no known event came within the replay timeout."""
        self._perform(self._continuity.closed(self._now(), timed_out=timed_out))

    def check_refused(self, *, about_id: bool) -> bool:
        """Whether the refused request was one of the bridge's own checks, which says nothing about a position.

        ``about_id``: the failure may be an answer to the id of the request.
        """
        return self._continuity.check_refused(about_id=about_id)

    @property
    def may_drop_id(self) -> bool:
        """Whether the session could continue without the id of the last request.

        Not if no id was sent, or the one to start after, which the server has accepted before. To connect without an
        id would then skip the events sent meanwhile, for what may be a proxy's trouble.
        """
        return self._requested_id not in {"", self._source.settings.start_after_id if self._was_streamed else ""}

    def drop_refused_id(self, refusal: str) -> bool:
        """Start a new epoch without the id that the server refuses; False if no other id can be sent instead."""
        start, refused = self._source.settings.start_after_id, self._requested_id
        if not self.may_drop_id:
            return False
        resume_after = "" if refused == start else start
        self._continuity.position_refused()
        detail = (
            f"the server refuses the last event id ({refusal}): the stream continues with {after_start(resume_after)}"
        )
        event = self._lifecycle_event("unresumable", "refused_id", detail, to=resume_after)
        self._start_epoch(OverlapWindow.starting(resume_after), event)
        return True

    def end(self, reason: str, detail: str) -> None:
        """Announce the end, unless it was announced before and the session has not come back since."""
        if self._has_ended:
            return
        event = self._lifecycle_event("ended", reason, detail)
        self._publisher.end(event)
        self._session_log.lifecycle(event, self._continuity.backfilled)

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Publish(events):
                    self._publish(events)
                case Announce(event):
                    if self._lifecycle_limit.admits(event, self._now()):
                        self._publisher.announce(event)
                    self._session_log.lifecycle(event, self._continuity.backfilled)
                case StartEpoch(event, window, certain):
                    window = self._publisher.overlap_window.unproven() if window is None else window
                    self._start_epoch(window._replace(certain=certain), event)
                case Reconnect(why):
                    self._log.info("reconnecting at once", why=why)
                    raise ReconnectNow
                case UncertainIds():
                    self._log.warning("some events come without ids: a replay may leave them out")
                    self._publisher.mark(self._publisher.overlap_window._replace(certain=False))
                case TakesPart():
                    self._source.warn_of_taking_part()
                case NoIds():
                    raise EventWithoutId

    def _publish(self, events: Sequence[Event]) -> None:
        end = self._source.end_in(events)
        events = events if end is None else events[: end + 1]
        self.counters.received += len(events)
        self.counters.last_event_at = self._now()
        self.runs.note(events[-1].name)
        if events[0].id == self._source.settings.start_after_id != "":
            self._source.record_start_id()
        if not self._publisher.position.sequence and (mark := first_mark(self._publisher.overlap_window, events[0])):
            self._publisher.mark(mark)
        self._publisher.submit(events)
        if end is not None:
            raise SessionOver("end_after", "the event of end_after came")
        if not self.has_ids and any(each.name == "error" and _OTHER_READER in each.data for each in events):
            self._session_log.other_reader()
        if not _LISTING_EVENTS.isdisjoint({event.name for event in events}):
            self._source.list_wanted.set()
            if any(deletes(event, self.key.session_id) for event in events):
                raise SessionOver("deleted", "the server deleted the session")

    def _start_epoch(self, window: OverlapWindow, why: LifecycleEvent | None = None) -> None:
        self._started_epoch, self._has_ended = True, False
        self._publisher.begin_epoch(window, why)
        if why is not None:
            self._session_log.lifecycle(why, self._continuity.backfilled)

    def _lifecycle_event(
        self, kind: Literal["resumed", "unresumable", "ended"], reason: str, detail: str, to: str | None = None
    ) -> LifecycleEvent:
        before = self._publisher.position.last_event_id
        return LifecycleEvent(kind, reason, detail, before, before if to is None else to)
