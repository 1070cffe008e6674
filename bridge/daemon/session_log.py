"""Counts and logs what happens to one session's stream, and notes whether a run of the agent is in progress."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from structlog.stdlib import get_logger

from bridge.core.identity import SessionKey
from bridge.core.records.lifecycle import LifecycleEvent
from bridge.sse.event_stream import EventStream

log = get_logger("bridge.session")

_ORDINARY: Final = frozenset({"attached", "resumed", "ended"})
_ENDS = frozenset({"complete", "error"})
_QUIET_AFTER = 5.0
"""Seconds without an event after which a stream without runs is quiet."""


@dataclass(slots=True)
class SessionCounters:
    """Counters of a session, named as in ``core.snapshot.Counters``, and the last things it saw.

    Thread rule: written by the session's worker, read by any thread.
    """

    last_event_at: float | None = None
    last_error: str | None = None
    received: int = 0
    reconnects: int = 0
    bytes_read: int = 0
    replaced_utf8: int = 0
    discarded_tails: int = 0
    discarded_bytes: int = 0
    resumed: int = 0
    gaps: int = 0
    missing_events: int = 0
    resets: int = 0
    unresumable: int = 0
    backfilled: int = 0
    other_readers: int = 0

    def add_lifecycle_event(self, event: LifecycleEvent, backfilled: int) -> None:
        """Count what happened to the stream. ``backfilled``: jumps of ids that reconnects have filled so far."""
        self.resumed += event.kind == "resumed"
        self.gaps += event.kind == "gap"
        self.resets += event.kind == "reset"
        self.unresumable += event.kind == "unresumable"
        self.missing_events += event.missing or 0
        self.backfilled = backfilled

    def add_connection(self, stream: EventStream) -> None:
        self.bytes_read += stream.bytes_read
        self.replaced_utf8 += stream.replaced
        self.discarded_bytes += stream.discarded_bytes
        self.discarded_tails += stream.discarded_bytes > 0

    def numbers(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in _NAMES}


_NAMES = tuple(each.name for each in fields(SessionCounters) if not each.name.startswith("last_"))


class SessionLog:
    """The log of one session. For its thread alone."""

    def __init__(self, key: SessionKey, counters: SessionCounters) -> None:
        self._log = log.bind(server=key.server, session=key.session_id)
        self._counters = counters

    def lifecycle(self, event: LifecycleEvent, backfilled: int) -> None:
        """What the lifecycle topic contains. ``backfilled``: jumps of ids that reconnects have filled so far."""
        self._counters.add_lifecycle_event(event, backfilled)
        level = self._log.info if event.kind in _ORDINARY else self._log.error
        level(
            f"session {event.kind}", reason=event.reason, detail=event.detail, missing=event.missing,
            from_last_event_id=event.from_last_event_id, to_last_event_id=event.to_last_event_id,
        )  # fmt: skip

    def other_reader(self) -> None:
        """Another reader of the session is connected to a Mix server without ids."""
        self._counters.other_readers += 1
        self._counters.last_error = "another reader is connected to this session"
        self._log.error("another reader is connected to this session: it runs messages instead of this one's server")


class Runs:
    """The runs of one session, as far as its events show. Thread rule: the worker, except for ``is_quiet`` (any)."""

    def __init__(self, counters: SessionCounters, *, has_runs: bool) -> None:
        """``has_runs``: the events are a Mix agent's."""
        self._counters = counters
        self._has_runs = has_runs
        self._last_event = ""

    def note(self, event: str) -> None:
        self._last_event = event or self._last_event

    def is_quiet(self, now: float) -> bool:
        if self._last_event in _ENDS or not self._last_event:
            return True
        is_idle = now - (self._counters.last_event_at or now) >= _QUIET_AFTER
        return is_idle and not self._has_runs
