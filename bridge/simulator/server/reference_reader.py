"""Parses raw bytes of an event stream exactly as the standard requires (WHATWG HTML, section 9.2.6). Pure.

Written from the standard, independently of the bridge's own parser: the journal of raw events is made with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")


class Dispatched(NamedTuple):
    """One event as a client dispatches it."""

    id: str | None
    """The id in its own block; None without one."""
    event: str
    data: bytes


def dispatched(raw: bytes) -> list[Dispatched]:
    """Return the events of complete blocks. A block that no empty line ends is discarded."""
    return list(_events(_LINE_END.split(raw)[:-1]))


def _events(lines: list[bytes]) -> Iterator[Dispatched]:
    event_id, name, data = None, "", list[str]()
    for line in lines:
        if not line:
            if data:
                yield Dispatched(event_id, name or "message", "\n".join(data).encode())
            event_id, name, data = None, "", []
            continue
        field, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode(errors="replace")
        if field == b"data":
            data.append(text)
        elif field == b"event":
            name = text
        elif field == b"id" and "\0" not in text:
            event_id = text
