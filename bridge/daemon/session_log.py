"""Logs and counts what happens to one session's stream."""

from __future__ import annotations

from typing import Final

from structlog.stdlib import get_logger

from bridge.core.identity import SessionKey
from bridge.core.records.lifecycle import LifecycleEvent
from bridge.daemon.counters import SessionCounters

log = get_logger("bridge.session")

_ORDINARY: Final = frozenset({"attached", "resumed", "ended"})


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
