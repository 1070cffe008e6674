"""The lifecycle topic as a reader of the records' description sees it, and whether its statements are true."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.support.rule import understand
from tests.support.topics import Read, read_topic

TYPE = "mix.bridge.session."
KINDS = {"attached", "resumed", "gap", "reset", "unresumable", "ended"}
BY_THE_BROKER = {"topics.config": {"message.timestamp.type": "LogAppendTime"}}
"""A setting with which Kafka itself says when it took each event and each lifecycle record, for ``must_be_true``."""

_DATA = {"reason", "detail", "from_last_event_id", "to_last_event_id", "missing"}


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

    @property
    def new_epoch(self) -> int | None:
        """The epoch that begins here."""
        return int(self.data["new_epoch"]) if "new_epoch" in self.data else None


def lifecycle(bootstrap: str, namespace: str, session: str, server: str = "local") -> list[Told]:
    """What was told of one session, in order."""
    return lifecycles(bootstrap, namespace).get(f"{server}/{session}", [])


def lifecycles(bootstrap: str, namespace: str) -> dict[str, list[Told]]:
    """What was told of each session, in order, by key; AssertionError where a record is not as it is described."""
    found: dict[str, list[Told]] = {}
    for record in read_topic(bootstrap, f"{namespace}.lifecycle"):
        key = (record.key or b"").decode()
        found.setdefault(key, []).append(_told(key, record))
    return found


def _told(key: str, record: Read) -> Told:
    envelope = json.loads(record.value or b"")
    server, _, session = key.partition("/")
    data, kind = envelope["data"], envelope["type"].removeprefix(TYPE)
    told = Told(kind, int(envelope["epoch"]), int(envelope["sequence"]), data, record.timestamp)
    assert record.header("content-type") == "application/cloudevents+json; charset=UTF-8"
    assert kind in KINDS, envelope
    assert (envelope["specversion"], envelope["datacontenttype"]) == ("1.0", "application/json"), envelope
    assert (envelope["source"], envelope["subject"]) == (f"/mix/{server}/sessions/{quote(session, '')}", session)
    assert (len(envelope["epoch"]), len(envelope["sequence"])) == (10, 12), envelope
    assert envelope["id"].startswith(f"{envelope['epoch']}:{envelope['sequence']}:{kind}:"), envelope
    assert datetime.fromisoformat(envelope["time"]).tzinfo is not None, envelope
    assert set(data) - {"new_epoch"} == _DATA, envelope
    assert data["reason"], envelope
    assert data["detail"], envelope
    assert told.new_epoch is None or told.new_epoch > told.epoch, envelope
    return told


def must_be_true(told: Iterable[Told], records: Iterable[Read]) -> None:
    """Each of a session's records states that all numbers up to its own are in Kafka, and none of a new epoch before.

    ``records`` are the session's, of all topics; their timestamps and those of what was told are the broker's.
    """
    first: dict[tuple[int, int], int] = {}
    for one in map(understand, records):
        first[one.number] = min(first.get(one.number, one.record.timestamp), one.record.timestamp)
    for each in told:
        for sequence in range(1, each.sequence + 1):
            assert first.get((each.epoch, sequence), each.timestamp + 1) <= each.timestamp, (sequence, each)
        too_early = [number for number, at in first.items() if number[0] == each.new_epoch and at < each.timestamp]
        assert not too_early, (too_early, each)
