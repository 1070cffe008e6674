"""What the live page shows of a snapshot."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from bridge.core.snapshot import BridgeSnapshot, Counters, ServerSnapshot, SessionSnapshot
from bridge.observe.page.feed import LastHour, difference
from bridge.observe.page.view import ERROR, LOST, STOPPED, detail, trouble, view
from tests.fakes import page_snapshots


def shown(snapshot: BridgeSnapshot) -> dict[str, Any]:
    """The view, with an hour that began with the process."""
    totals = Counters.total(snapshot.totals().values())
    return view(snapshot, totals, LastHour(0.0).change(snapshot.taken_at, totals))


def has_null(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(has_null, value.values()))
    return value is None or (isinstance(value, list) and any(map(has_null, value)))


SNAPSHOTS = {
    "empty": page_snapshots.EMPTY,
    "healthy": page_snapshots.healthy(),
    "troubled": page_snapshots.troubled(),
    "hostile": page_snapshots.hostile(),
    "starting": replace(page_snapshots.EMPTY, restored=False, kafka_last_answer_age=None, topics=()),
}


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_it_is_json_without_null(name: str) -> None:
    """In a merge patch null removes a member."""
    found = shown(SNAPSHOTS[name])
    assert not has_null(found)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("snapshot", "level", "text"),
    [
        (page_snapshots.healthy(1), "ok", "Ready: 1 session, all checks passed"),
        (page_snapshots.full(), "attention", "Ready, but 100 of 5,000 sessions with a problem"),
        (page_snapshots.troubled(), "failing", "Not ready: 4 checks failed (shards, replicas, kafka, topics)"),
        (replace(page_snapshots.EMPTY, loops={"poll": 9.0}), "failing", "Not ready: 1 check failed (loop:poll)"),
        (
            replace(page_snapshots.EMPTY, servers={"local": ServerSnapshot(reachable=True, not_bridged=2)}),
            "attention",
            "Ready, but 2 sessions not bridged (servers.<name>.max_sessions)",
        ),
        (
            replace(
                page_snapshots.EMPTY,
                servers={
                    "local": ServerSnapshot(
                        reachable=True, ended=Counters(gaps=1, unresumable=1, dead_letters={"schema": 1})
                    )
                },
            ),
            "attention",
            "Ready, but 2 gaps in the last hour: events may be lost; 1 dead letter in the last hour",
        ),
    ],
)
def test_the_verdict_is_one_line(snapshot: BridgeSnapshot, level: str, text: str) -> None:
    """Failed checks first, then what a person should look at although all passed."""
    assert shown(snapshot)["verdict"] == {"level": level, "text": text}


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        (SessionSnapshot("local", "1", "streaming"), 0),
        (SessionSnapshot("local", "1", "waiting"), 0),
        (SessionSnapshot("local", "1", "streaming", counters=Counters(gaps=1)), LOST),
        (SessionSnapshot("local", "1", "streaming", counters=Counters(unresumable=1)), LOST),
        (SessionSnapshot("local", "1", "streaming", last_error="topic is away", counters=Counters(gaps=1)), ERROR),
        (SessionSnapshot("local", "1", "refused"), STOPPED),
        (SessionSnapshot("local", "1", "crashed", last_error="bug: KeyError"), STOPPED),
    ],
)
def test_trouble_has_three_degrees(session: SessionSnapshot, expected: int) -> None:
    """A session that is not bridged, one with an error, one that lost events."""
    assert trouble(session) == expected


def test_time_alone_changes_only_the_clock() -> None:
    """Moments instead of ages: 5,000 silent sessions cost nothing."""
    now = replace(page_snapshots.healthy(50), taken_at=1000.0)
    silent = [replace(each, last_event_age=5.0, last_byte_age=3.0) for each in now.sessions]
    later = [replace(each, last_event_age=6.0, last_byte_age=4.0) for each in now.sessions]
    before = shown(replace(now, sessions=tuple(silent)))
    polled = {"local": replace(now.servers["local"], last_discovery_age=3.0)}
    after = shown(replace(now, sessions=tuple(later), taken_at=1001.0, kafka_last_answer_age=1.1, servers=polled))
    assert difference(before, after) == {
        "clock": 1001.0,
        "checks": {"kafka": {"detail": "answered 1.1 s ago"}},
        "hour": {"seconds": 1001},
    }


def test_a_session_is_small() -> None:
    """5,000 sessions are one message."""
    assert len(json.dumps(shown(page_snapshots.full()))) < 1_500_000


def test_the_detail_of_a_session_has_its_lifecycle_newest_first() -> None:
    """With the ids, the reason and the number of missing events."""
    found = detail(page_snapshots.troubled(), "local", "session-0030")
    assert found is not None
    assert [each["type"] for each in found["lifecycle"]] == ["gap", "attached"]
    assert found["lifecycle"][0] == {
        "type": "gap",
        "unix_ms": 1_700_000_300_000,
        "epoch": 1_700_000_001,
        "sequence": 118,
        "reason": "skipped_ids",
        "detail": "the server no longer has events after the last one",
        "from_last_event_id": "118",
        "to_last_event_id": "121",
        "missing": 2,
    }
    assert (found["state"], found["counters"]["missing_events"], found["title"]) == ("streaming", 2, "")
    assert detail(page_snapshots.troubled(), "local", "unknown") is None
    titled = detail(page_snapshots.troubled(), "local", "session-0002")
    assert titled is not None
    assert titled["title"] == "Refactor module 2"
