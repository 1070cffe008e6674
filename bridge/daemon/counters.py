"""What a session's worker has seen, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.core.records.lifecycle import LifecycleEvent


@dataclass(slots=True)
class SessionCounters:
    """Written by the worker's thread, read by any."""

    received: int = 0
    reconnects: int = 0
    bytes_read: int = 0
    replaced: int = 0
    discarded_tails: int = 0
    discarded_bytes: int = 0
    resumed: int = 0
    gaps: int = 0
    missing_events: int = 0
    resets: int = 0
    unresumable: int = 0
    healed: int = 0
    last_event_at: float | None = None
    last_error: str | None = None

    def note(self, lifecycle_event: LifecycleEvent, healed: int) -> None:
        """Count what happened to the stream; ``healed``: jumps of ids that reconnects have made good so far."""
        kind = lifecycle_event.kind
        self.resumed += kind == "resumed"
        self.gaps += kind == "gap"
        self.resets += kind == "reset"
        self.unresumable += kind == "unresumable"
        self.missing_events += lifecycle_event.missing or 0
        self.healed = healed
