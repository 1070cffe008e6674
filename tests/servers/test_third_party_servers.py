"""Servers of other projects as sources: kill -9 of the bridge, cut connections, and resume through their own replay."""

from __future__ import annotations

from pathlib import Path

from tests.servers.run import QUICK, survive, topic
from tests.support.rule import follow
from tests.support.topics import read_topic


def test_each_event_arrives_once_or_its_loss_is_announced(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Ids of several kinds, data that is no JSON, several lines, no event name; nothing altered."""
    survive(tmp_path, kafka, namespace, QUICK, 2)
    accepted = follow(read_topic(kafka, topic(namespace, "sse_channel"))).accepted
    assert {one.event: one.record.header("content-type") for one in accepted} == {
        "mix.reading": "application/json",
        "mix.json.lines": "application/json",
        "mix.message": "text/plain",
        "mix.lines": "text/plain",
        "mix.a name with blanks": "text/plain",
        "mix.nothing": "text/plain",
    }
