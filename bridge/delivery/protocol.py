"""What a session's worker sees of delivery, whatever guarantee stands behind it."""

from __future__ import annotations

from typing import Protocol

from bridge.core.event import Event
from bridge.core.identity import Position


class Outbox(Protocol):
    """One session's way to Kafka. One thread, the session's worker, calls it."""

    @property
    def position(self) -> Position:
        """The position after everything submitted so far, acknowledged or not."""
        ...

    def submit(self, event: Event, last_event_id: str) -> None:
        """Number one event and hand it over; waits while there is no room, raises ``Stopped`` when that wait is ended.

        It stays in memory until Kafka has acknowledged it. ``last_event_id`` is the session's id after this event.
        """
        ...

    def skip(self, last_event_id: str) -> None:
        """Move the id without publishing: an id-only block."""
        ...

    def begin_epoch(self, last_event_id: str) -> None:
        """Number what follows in a new epoch, which resumes after ``last_event_id``; never waits."""
        ...

    def end(self) -> None:
        """The session is over: after everything before it is acknowledged its checkpoint says ``ended``."""
        ...

    def stop(self) -> None:
        """Wake a waiting ``submit`` and refuse further ones (any thread); what was submitted is still delivered."""
        ...
