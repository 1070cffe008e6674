"""Decisions about a stream, as values. `Continuity` returns them, and the session's worker performs them in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow


class Publish(NamedTuple):
    """Publish these events, in order."""

    events: Sequence[Event]


class Announce(NamedTuple):
    """Publish this lifecycle record."""

    lifecycle_event: LifecycleEvent


class StartEpoch(NamedTuple):
    """Publish this lifecycle record, and number the following events in a new epoch."""

    lifecycle_event: LifecycleEvent
    overlap_window: OverlapWindow | None = None
    """Where the new epoch resumes; None: at the stream's present position, without known events."""
    certain: bool = True


class Reconnect(NamedTuple):
    """Close this connection and open another one at once."""

    why: str


class UncertainIds(NamedTuple):
    """A replay may leave out events from here on: write that to a checkpoint before anything else is published."""


class NoIds(NamedTuple):
    """An event came without an id, and the settings refuse that."""


class TakesPart(NamedTuple):
    """The server sends no ids, and a reader of such a Mix server takes part in the session's runs."""


Action = Publish | Announce | StartEpoch | Reconnect | UncertainIds | NoIds | TakesPart
