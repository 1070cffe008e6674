"""Events as a consumer receives them, made without a record."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from bridge.consumer import Event

_EVENT = Event(
    server="local",
    session="amber",
    type="content",
    epoch=1,
    number=1,
    sequence="",
    id="",
    time=datetime(2026, 1, 1, tzinfo=UTC),
    sse_id="1",
    data=b"{}",
    replayed=False,
    topic="mix.events",
    partition=0,
    offset=0,
)


def consumed_event(data: bytes = b"{}", number: int = 1, epoch: int = 1, **changes: Any) -> Event:
    """An event with this data and number; ``changes``: other fields."""
    sequence = f"{epoch:010}:{number:012}"
    event = replace(_EVENT, data=data, epoch=epoch, number=number, sequence=sequence, id=sequence)
    return replace(event, **changes)
