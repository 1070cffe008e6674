"""Sentences of lifecycle records."""

from __future__ import annotations

from typing import Final

NO_IDS: Final = "the server gives no ids: events sent between two connections are lost"
UNKNOWN_START: Final = (
    "the server may not know the id to start after: events before this one may be missing."
    " Set start_after_id to the id with which this server replays all its events, or to the empty text"
)
RESUMED: Final = "the stream continues where it stopped"
NOT_PROVABLE: Final = "nothing proves which events came before: some may be missing"
EVENTS_WITHOUT_IDS: Final = (
    "this server sends events without ids, which a replay may leave out: some may be missing here"
)
SKIPPED_START: Final = (
    "this server gives the id to start after to an event: the session's first event may be missing."
    " Set start_after_id to an id below the first one, for example -1"
)


def after_start(start: str) -> str:
    """The events that a request with this start id can bring."""
    return f"the events after the id {start!r} that the server still has" if start else "events from now on"
