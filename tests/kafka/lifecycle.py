"""The lifecycle topic as a reader of the records' description sees it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from tests.kafka.topics import read_topic

TYPE = "mix.bridge.session."


class Told(NamedTuple):
    """One lifecycle record."""

    kind: str
    epoch: int
    sequence: int
    """The number that it follows."""
    data: dict[str, Any]
    timestamp: int

    @property
    def reason(self) -> str:
        """The code."""
        return str(self.data["reason"])


def lifecycle(bootstrap: str, namespace: str, session: str, server: str = "local") -> list[Told]:
    """What was told of one session, in order."""
    key = f"{server}/{session}".encode()
    return [_told(record.value, record.timestamp) for record in _records(bootstrap, namespace) if record.key == key]


def _records(bootstrap: str, namespace: str) -> list[Any]:
    return list(read_topic(bootstrap, f"{namespace}.lifecycle"))


def _told(value: bytes | None, timestamp: int) -> Told:
    envelope = json.loads(value or b"")
    assert envelope["type"].startswith(TYPE), envelope
    assert (len(envelope["epoch"]), len(envelope["sequence"])) == (10, 12), envelope
    kind = envelope["type"].removeprefix(TYPE)
    return Told(kind, int(envelope["epoch"]), int(envelope["sequence"]), envelope["data"], timestamp)
