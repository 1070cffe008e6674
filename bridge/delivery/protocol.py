"""What a session's worker sees of delivery, whatever guarantee stands behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bridge.core.event import Event
from bridge.core.identity import Position
from bridge.core.lifecycle import Happening
from bridge.core.recent import Recent


class Outbox(Protocol):
    """One session's way to Kafka. One thread, the session's worker, calls it."""

    @property
    def position(self) -> Position:
        """The position after everything submitted so far, acknowledged or not: its id is the one to resume after."""
        ...

    def submit(self, events: Sequence[Event]) -> None:
        """Number these events and hand them over, in order; id-only blocks and skipped events move the id alone.

        They stay in memory until Kafka has acknowledged them. Waits while there is no room; raises ``Stopped`` when the
        wait is ended by a stop: what is then not yet taken is read again after the next start.
        """
        ...

    @property
    def recent(self) -> Recent:
        """The window of the stream after everything submitted so far."""
        ...

    def announce(self, what: Happening) -> None:
        """Say this in the lifecycle topic, once everything before it is in Kafka; never waits."""
        ...

    def begin_epoch(self, recent: Recent, why: Happening | None = None) -> None:
        """Number what follows in a new epoch, which resumes at ``recent``; announce why before it; never waits."""
        ...

    def doubt(self) -> None:
        """A replay may leave out what is submitted from here on: checkpoint that before any of it; never waits."""
        ...

    def end(self, why: Happening) -> None:
        """The session is over: after everything before it is acknowledged this is announced and checkpointed."""
        ...

    def stop(self) -> None:
        """Wake a waiting ``submit`` and refuse further ones (any thread); what was submitted is still delivered."""
        ...
