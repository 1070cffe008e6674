"""Ended sessions are forgotten after ``forget_after``; one that comes back starts above its former epoch."""

from __future__ import annotations

from pathlib import Path

from bridge.core.identity import Position, SessionKey, partition_of
from bridge.core.records.checkpoint import Checkpoint, encode
from bridge.core.stream.overlap import OverlapWindow
from tests.support.scene import bridged, checkpoints, settings, started, wait_acknowledged, wait_logged, write
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.topics import create_topic

FAR = 9_000_000_000
"""An epoch in the future: the clock was wrong when it began."""


def test_a_forgotten_session_that_returns_starts_above_its_epoch(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Also after a restart: consumers that have seen the higher epoch would drop a lower one."""
    topic, key = f"{namespace}.checkpoints", SessionKey("local", "a")
    create_topic(kafka, topic, 2, {"cleanup.policy": "compact"})
    ended = Checkpoint(key, Position(FAR, 5, "5"), "ended", 1000, "", OverlapWindow.starting("5"))
    write(kafka, topic, key.record_key, encode(ended), partition_of(key.record_key, 2))
    with scripted_mix({"b": Feed(1)}) as mix:
        chosen = settings(kafka, namespace, mix.url, {"servers.local.forget_after": "1s"})
        with started(tmp_path, chosen) as bridge:
            assert wait_logged(bridge, "ended sessions are forgotten")["sessions"] == 1
            bridge.kill()
        assert checkpoints(kafka, namespace)["local/a"][-1] == {}
        mix.serve({"a": Feed(3)})
        with bridged(tmp_path, chosen) as bridge:
            wait_acknowledged(bridge, "a", 3)
    last = checkpoints(kafka, namespace)["local/a"][-1]
    assert (last["epoch"], last["sequence"], last["state"]) == (FAR + 1, 3, "active")
