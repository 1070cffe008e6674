"""One dispatched event of a stream, or an id that moved without an event."""

from __future__ import annotations

from typing import NamedTuple


class Oversize(NamedTuple):
    """Facts about data that was too large to keep: its full size in bytes and its SHA-256 in hex digits."""

    size: int
    sha256: str


class Event(NamedTuple):
    """One event as dispatched by the event stream's rules (WHATWG HTML, "event stream interpretation").

    A tuple, not a dataclass: one is made for every event, and a frozen dataclass costs three times as much.
    """

    name: str
    """The SSE event name, ``message`` if the stream gave none; empty for an id-only block."""
    data: str
    """The data lines joined by LF, invalid UTF-8 replaced by U+FFFD. Cut if ``oversize`` is set."""
    id: str | None
    """This block's own id, unchanged; None if the block had none."""
    last_event_id: str
    """The stream's last event id after this block (sticky); empty means none."""
    received_ms: int
    """Unix time in milliseconds at which the read that closed the block returned."""
    oversize: Oversize | None = None
    """Set if the block was larger than the reader's limit, so that ``data`` holds only its beginning."""
