"""One event as a consumer receives it, in whichever format its record is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One event, dead letter or lifecycle record. Thread rule: immutable."""

    server: str
    session: str
    type: str
    """The SSE event name, without the prefix of the CloudEvents type. Of a lifecycle record the whole CloudEvents type:
    ``mix.bridge.session.gap``."""
    epoch: int
    number: int
    sequence: str
    """``<epoch>:<number>`` in 10 and 12 digits: strings compare in the order of the session's events."""
    id: str
    """Equal to ``sequence``; a lifecycle record has a longer one, because it repeats the number that it follows."""
    time: datetime
    """When the bridge received it, in UTC. A repeat has its own."""
    sse_id: str | None
    """The event's own SSE id. A raw record or a dead letter has the last event id of the stream instead."""
    data: bytes
    """The server's data, byte for byte. Of a dead letter perhaps only its beginning."""
    replayed: bool
    """Whether ``mix-bridge dead-letters replay`` sent it."""
    topic: str
    partition: int
    offset: int
    dead_letter: str | None = None
    """The reason, if it is a dead letter: ``schema``, ``oversize``, ..."""
    error: str | None = None
    """What was wrong with it, on one line, if it is a dead letter."""

    @property
    def key(self) -> str:
        """The key of its record: ``<server>/<session id>``."""
        return f"{self.server}/{self.session}"

    @property
    def is_lifecycle(self) -> bool:
        """Whether it is a lifecycle record."""
        return self.id != self.sequence

    def json(self) -> Any:  # noqa: ANN401 - any JSON
        """Parse the data. Raises ValueError if it is not JSON."""
        return json.loads(self.data)
