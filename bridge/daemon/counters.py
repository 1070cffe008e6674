"""The counters of one session's stream."""

from __future__ import annotations

from dataclasses import dataclass, fields

from bridge.core.records.lifecycle import LifecycleEvent
from bridge.sse.event_stream import EventStream


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
        """Add the numbers of a connection that is closed."""
        self.bytes_read += stream.bytes_read
        self.replaced_utf8 += stream.replaced
        self.discarded_bytes += stream.discarded_bytes
        self.discarded_tails += stream.discarded_bytes > 0

    def numbers(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in _NAMES}


_NAMES = tuple(each.name for each in fields(SessionCounters) if not each.name.startswith("last_"))
