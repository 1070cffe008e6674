"""Read the lifecycle topic as docs/guarantees.md describes it, and check that its statements are true."""

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
"""A setting with which the broker's clock dates each event and each lifecycle record, for ``assert_true``."""

_DATA = {"reason", "detail", "from_last_event_id", "to_last_event_id", "missing"}


class LifecycleRecord(NamedTuple):
    """One lifecycle record."""

    kind: str
    epoch: int
    sequence: int
    """The number of the last event before it."""
    data: dict[str, Any]
    timestamp: int

    @property
    def reason(self) -> str:
        """The machine-readable reason."""
        return str(self.data["reason"])

    @property
    def new_epoch(self) -> int | None:
        """The epoch that begins with this record."""
        return int(self.data["new_epoch"]) if "new_epoch" in self.data else None


def lifecycle(bootstrap: str, namespace: str, session: str, server: str = "local") -> list[LifecycleRecord]:
    """Return the lifecycle records of one session, in order."""
    return lifecycles(bootstrap, namespace).get(f"{server}/{session}", [])


def lifecycles(bootstrap: str, namespace: str) -> dict[str, list[LifecycleRecord]]:
    """Return each session's lifecycle records by key, in order; AssertionError for a malformed record."""
    found: dict[str, list[LifecycleRecord]] = {}
    for record in read_topic(bootstrap, f"{namespace}.lifecycle"):
        key = (record.key or b"").decode()
        found.setdefault(key, []).append(_parsed(key, record))
    return found


def _parsed(key: str, record: Read) -> LifecycleRecord:
    envelope = json.loads(record.value or b"")
    server, _, session = key.partition("/")
    data, kind = envelope["data"], envelope["type"].removeprefix(TYPE)
    epoch, _, number = envelope["sequence"].partition(":")
    parsed = LifecycleRecord(kind, int(epoch), int(number), data, record.timestamp)
    assert record.header("content-type") == "application/cloudevents+json; charset=UTF-8"
    assert kind in KINDS, envelope
    assert (envelope["specversion"], envelope["datacontenttype"]) == ("1.0", "application/json"), envelope
    assert (envelope["source"], envelope["subject"]) == (f"/mix/{server}/sessions/{quote(session, '')}", session)
    assert (len(epoch), len(number)) == (10, 12), envelope
    assert envelope["epoch"] == epoch, envelope
    assert envelope["id"].startswith(f"{envelope['sequence']}:{kind}:"), envelope
    assert datetime.fromisoformat(envelope["time"]).tzinfo is not None, envelope
    assert set(data) - {"new_epoch"} == _DATA, envelope
    assert data["reason"], envelope
    assert data["detail"], envelope
    assert parsed.new_epoch is None or parsed.new_epoch > parsed.epoch, envelope
    return parsed


def assert_true(lifecycle_records: Iterable[LifecycleRecord], records: Iterable[Read]) -> None:
    """Assert that, before each lifecycle record, all numbers up to its own were in Kafka and none of its new epoch.

    ``records`` are the session's records of all topics. All timestamps are the broker's.
    """
    first: dict[tuple[int, int], int] = {}
    for one in map(understand, records):
        first[one.number] = min(first.get(one.number, one.record.timestamp), one.record.timestamp)
    for each in lifecycle_records:
        for sequence in range(1, each.sequence + 1):
            assert first.get((each.epoch, sequence), each.timestamp + 1) <= each.timestamp, (sequence, each)
        too_early = [number for number, at in first.items() if number[0] == each.new_epoch and at < each.timestamp]
        assert not too_early, (too_early, each)
