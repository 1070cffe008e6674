"""kill -9 under load: nothing missing, nothing altered, repeats no more than the crash explains."""

from __future__ import annotations

import random
import threading
from pathlib import Path

from tests.kafka.mix import MixServer, prove
from tests.kafka.process import Bridge
from tests.kafka.topics import end_offsets
from tests.waiting import wait_until

SESSIONS = 20
RATE = 150
"""Events per second of each session: 3,000 a second in all, which two cores shared with Kafka carry with ease."""
EVENTS = 2500
CHECKPOINT_INTERVAL = 0.2
SLACK = 1.0
"""Seconds of events beyond one checkpoint interval that a crash may repeat: what Kafka had acknowledged and the timer
had not yet seen, and the timer's own delay, on a machine where all this shares two cores."""


def pause(seconds: float) -> None:
    """Let the load run: the moment of a kill is what is random here."""
    threading.Event().wait(seconds)


def test_a_consumer_has_each_event_once_after_kills_at_random(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Kills in the attach, in bursts and during checkpoints; compared with the server's own journal."""
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    print(f"seed {seed}")
    options = ("--sessions", SESSIONS, "--rate", RATE, "--events", EVENTS, "--replay", EVENTS + 100, "--seed", seed)
    with MixServer(tmp_path / "mix", *options) as server:
        settings = {
            "namespace": namespace,
            "kafka.bootstrap_servers": kafka,
            "servers.local.url": server.url,
            "servers.local.reconnect_min": "50ms",
            "delivery.checkpoint_interval": CHECKPOINT_INTERVAL,
        }
        bridge = Bridge(tmp_path / "bridge", settings)
        crashes = _crash_repeatedly(bridge, chance, kafka, namespace)
        bridge.start().wait_ready()
        wait_until(lambda: _has_everything(bridge), 60, f"all events, see {bridge.log}", 0.1)
        assert bridge.terminate() == 0
        journal = server.journal()
    assert {len(entries) for entries in journal.values()} == {EVENTS}
    proof = prove(kafka, [f"{namespace}.events"], journal)
    assert not end_offsets(kafka, f"{namespace}.dead-letters").get(0)
    explained = crashes * SESSIONS * RATE * (CHECKPOINT_INTERVAL + SLACK)
    print(f"{crashes} crashes, {proof.events} events, {proof.repeats} repeats, at most {explained:.0f} explained")
    assert proof.repeats <= explained


def _crash_repeatedly(bridge: Bridge, chance: random.Random, kafka: str, namespace: str) -> int:
    """Twice in the attach, twice in the flow of events, and as soon as a checkpoint has just been written."""
    crashes = 0
    for _ in range(2):
        bridge.start()
        wait_until(lambda: "new session" in bridge.log_text() or "connected" in bridge.log_text(), 30, "an attach")
        pause(chance.uniform(0, 0.05))
        bridge.kill()
        crashes += 1
    for _ in range(2):
        bridge.start().wait_ready()
        pause(chance.uniform(0.2, 1.0))
        bridge.kill()
        crashes += 1
    for _ in range(2):
        bridge.start().wait_ready()
        before = sum(end_offsets(kafka, f"{namespace}.checkpoints").values())
        _wait_for_checkpoints(kafka, namespace, before + SESSIONS)
        bridge.kill()
        crashes += 1
    return crashes


def _wait_for_checkpoints(kafka: str, namespace: str, more_than: int) -> None:
    topic = f"{namespace}.checkpoints"
    wait_until(lambda: sum(end_offsets(kafka, topic).values()) > more_than, 30, "checkpoints")


def _has_everything(bridge: Bridge) -> bool:
    sessions = bridge.get("/api/status").json()["sessions"]
    done = [one for one in sessions if one["acknowledged_sequence"] >= EVENTS]
    return len(done) == SESSIONS
