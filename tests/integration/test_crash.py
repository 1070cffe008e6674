"""kill -9 under load: nothing missing, nothing altered, repeats no more than the crash explains."""

from __future__ import annotations

import json
import random
import signal
import sys
import threading
import urllib.request
from pathlib import Path
from typing import NamedTuple

from tests.integration.scene import settings as quick
from tests.kafka.mix import MixServer, prove
from tests.kafka.process import Bridge
from tests.kafka.topics import end_offsets
from tests.waiting import wait_until

SESSIONS = 20
RATE = 150
"""Events per second of each session: 3,000 a second in all, which two cores shared with Kafka carry with ease."""
EVENTS = 2500
CHECKPOINT_INTERVAL = 0.2
SLACK = 3.0
"""Seconds of events beyond one checkpoint interval that a crash may repeat: the timer's own delay, and what piled up
while the bridge was away (a start takes two seconds here). It reads that at full speed, so a kill in this moment
repeats it."""


def pause(seconds: float) -> None:
    """Let the load run: the moment of a kill is what is random here."""
    threading.Event().wait(seconds)


def test_a_consumer_has_each_event_once_after_kills_at_random(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Kills in the attach, in the flow and after checkpoints; compared with the server's own journal."""
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
    assert sum(end_offsets(kafka, f"{namespace}.dead-letters").values()) == 0
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


class Moment(NamedTuple):
    """A call inside the bridge at whose end it is killed: the so-many-th for which the condition holds."""

    module: str
    name: str
    method: str
    times: int
    before: str = "True"
    after: str = "True"


# kill -9 from outside hits a moment of a millisecond by luck alone; here the process sends itself the same signal.
DEADLY = """
import itertools, os, signal, sys
from bridge.cli import main
from bridge.delivery.{module} import {name} as room

method, calls = room.{method}, itertools.count(1)

def deadly(self, *given):
    counts = {before}
    result = method(self, *given)
    if counts and {after} and next(calls) == {times}:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

room.{method} = deadly
sys.exit(main())
"""
FEW = 10
BURST = 200


def test_a_consumer_has_each_event_once_after_kills_at_chosen_moments(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """In the attach, in bursts and in the middle of writing checkpoints; compared with the server's own journal."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    with MixServer(tmp_path / "mix", "--sessions", FEW, "--rate", 0, "--seed", seed) as server:
        chosen = quick(kafka, namespace, server.url)
        for moment in _moments(random.Random(seed)):
            _burst(server)
            program = (sys.executable, "-c", DEADLY.format(**moment._asdict()))
            bridge = Bridge(tmp_path / "bridge", chosen, program).start(wait=False)
            assert bridge.wait() == -signal.SIGKILL, (moment, bridge.log_text()[-2000:])
        _burst(server)
        with Bridge(tmp_path / "bridge", chosen) as bridge:
            everything = sum(map(len, server.journal().values()))
            wait_until(lambda: _acknowledged(bridge) >= everything, 60, f"all events, see {bridge.log}", 0.1)
            assert bridge.terminate() == 0
        journal = server.journal()
    assert {len(entries) for entries in journal.values()} == {BURST * (len(_moments(random.Random(seed))) + 1)}
    proof = prove(kafka, [f"{namespace}.events"], journal)
    print(f"{proof.events} events, {proof.repeats} repeats")
    assert proof.repeats > 0, "no kill came between a record and its checkpoint"
    assert sum(end_offsets(kafka, f"{namespace}.dead-letters").values()) == 0


def _moments(chance: random.Random) -> list[Moment]:
    """Each of them in the middle of a round over the sessions: some have had their turn, some have not."""
    some = chance.randint(1, FEW // 3)
    return [
        Moment("position_log", "PositionLog", "write_mark", some),  # first positions: sent, not acknowledged
        Moment("position_log", "PositionLog", "_report_mark", some),  # acknowledged, and no record sent yet
        Moment("outbox", "SessionOutbox", "submit", some, after="self.in_flight >= 20"),
        Moment(
            "position_log", "PositionLog", "write", some + 3, before="given[0] not in (self.written, self._writing)"
        ),
        Moment("position_log", "PositionLog", "_report", some + 3),  # checkpoints: acknowledged
        Moment("outbox", "SessionOutbox", "submit", some + 3, after="self.in_flight >= 20"),
    ]


def _burst(server: MixServer) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{server.url}/api/sessions", timeout=10) as listed:
        sessions = [session["id"] for session in json.load(listed)]
    for session in sessions:
        server.post(f"/control/sessions/{session}/burst", {"count": BURST})


def _acknowledged(bridge: Bridge) -> int:
    return sum(one["acknowledged_sequence"] for one in bridge.get("/api/status").json()["sessions"])
