"""A stale write that compaction left alone in the topic hides no session from consumers, and revives none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from bridge.clock import unix_ms
from bridge.core.identity import Position, SessionKey
from bridge.core.records import claim as claims
from bridge.core.records.checkpoint import Checkpoint, encode
from bridge.core.records.claim import CLAIM_KEY, Claim
from bridge.core.stream.overlap import OverlapWindow
from tests.support.process import Bridge
from tests.support.scene import checkpoints, events, settings, wait_acknowledged, write
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.topics import create_topic
from tests.support.waiting import wait_until

RUNNING, UNLISTED = SessionKey("local", "running"), SessionKey("other", "unlisted")
OWNER = Claim("owner:1", "owner", 1, "", 0, "at_least_once")
EAGER = {
    "cleanup.policy": "compact",
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.001",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "200",
    "delete.retention.ms": "0",
}


def stored(key: SessionKey, epoch: int, token: int) -> bytes:
    """A checkpoint of the session after its third event."""
    return encode(Checkpoint(key, Position(epoch, 3, "3"), "active", unix_ms(), "", OverlapWindow.starting("3"), token))


def test_a_stale_write_that_compaction_left_alone_hides_nothing(kafka: str, namespace: str, tmp_path: Path) -> None:
    """The owner died before it answered. Its epochs are gone, but its claim knew them; sessions that do not run too."""
    topic, ahead = f"{namespace}.checkpoints", unix_ms() // 1000 + 5000
    create_topic(kafka, topic, partitions=1, config=EAGER)
    former = write(kafka, topic, CLAIM_KEY, claims.encode(replace(OWNER, owner="former:1")))
    owner = write(kafka, topic, CLAIM_KEY, claims.encode(replace(OWNER, epoch=ahead)))
    for key in (RUNNING, UNLISTED):
        write(kafka, topic, key.record_key, stored(key, ahead, owner))
        write(kafka, topic, key.record_key, stored(key, ahead - 1, former))  # the former owner wakes up
    compact(kafka, topic, namespace)
    feed = Feed(3)
    with scripted_mix({RUNNING.session_id: feed}) as mix:
        chosen = settings(kafka, namespace, mix.url, {"topics.shards": 1})
        with Bridge(tmp_path / "bridge", chosen).start() as bridge:
            wait_until(lambda: newest(kafka, namespace, UNLISTED)["epoch"] > ahead, 20, "the answer to the stale write")
            wait_until(lambda: newest(kafka, namespace, RUNNING)["epoch"] > ahead, 20, "the new epoch")
            bridge.kill()
        compact(kafka, topic, namespace)
        feed.add(2)
        with Bridge(tmp_path / "bridge", chosen).start() as bridge:
            wait_acknowledged(bridge, RUNNING.session_id, 2)
            assert bridge.terminate() == 0
    seen = [json.loads(each.value or b"")["sequence"] for each in events(kafka, namespace)]
    assert all(each > f"{ahead:010}" for each in seen), "consumers would drop them"
    assert newest(kafka, namespace, UNLISTED)["last_event_id"] == "3"


def newest(kafka: str, namespace: str, key: SessionKey) -> dict[str, Any]:
    """The newest checkpoint of a session."""
    return checkpoints(kafka, namespace)[str(key)][-1]


def compact(kafka: str, topic: str, namespace: str) -> None:
    """Return once each session has one record."""

    def is_done() -> bool:
        write(kafka, topic, b"#rolls the segment", b"{}")
        kept = checkpoints(kafka, namespace)
        return max(len(values) for key, values in kept.items() if not key.startswith("#")) == 1

    wait_until(is_done, 60, "the compaction", 0.5)
