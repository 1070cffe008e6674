"""A whole bridge delivers exactly the simulated server's journal, under malformed events and random faults."""

from __future__ import annotations

import json
from itertools import takewhile
from pathlib import Path

import pytest

from bridge.simulator.faults.malformed_events import MALFORMED_EVENTS
from bridge.simulator.faults.schedule import Chaos
from tests.support.mix import MixServer, prove
from tests.support.process import Bridge
from tests.support.scene import session, settings, started
from tests.support.waiting import wait_until

SILENT = ("--sessions", 1, "--rate", 0, "--heartbeat", 0)
CHAOS = 6.0
"""Seconds."""
WITHOUT_ID = {"no_id", "nul_id", "empty_id"}
"""A server that sends such events is refused."""
WITH_ID = [kind for kind in MALFORMED_EVENTS if kind not in WITHOUT_ID]


def wait_settled(bridge: Bridge, mix: MixServer, name: str) -> None:
    """Return when the bridge has acknowledged as many events as the server published."""

    def settled() -> bool:
        shown = session(bridge, name)
        return shown.get("acknowledged_sequence", 0) >= mix.counts(name)["published"] and not shown["in_flight"]

    wait_until(settled, 30, f"all of {name}, see {bridge.log}", 0.05)


@pytest.mark.usefixtures("numbers_of_any_length")
def test_every_malformed_event_is_delivered_as_in_the_journal(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Each kind, between ordinary events, is an event or a dead letter, byte for byte."""
    with MixServer(tmp_path / "mix", *SILENT) as mix:
        (name,) = (each["id"] for each in mix.get("/control/sessions"))
        with started(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            for kind in WITH_ID:
                mix.burst(name, 1)
                mix.publish_malformed(name, kind)
            mix.burst(name, 1)
            wait_settled(bridge, mix, name)
            assert bridge.terminate() == 0
        proof = prove(kafka, [f"{namespace}.events", f"{namespace}.dead-letters"], mix.journal())
    assert proof.events == 2 * len(WITH_ID) + 1


def wait_at_the_end(bridge: Bridge, mix: MixServer) -> None:
    """Return when each session is at its journal's last id with nothing in flight."""

    def behind() -> list[str]:
        shown = {name: session(bridge, name) for name in mix.journal()}
        ends = {name: entries[-1].id for name, entries in mix.journal().items()}
        return [
            name for name, one in shown.items() if (one.get("last_event_id"), one.get("in_flight")) != (ends[name], 0)
        ]

    wait_until(lambda: not behind(), 60, f"the end of {behind()}, see {bridge.log}", 0.2)


def test_random_faults_lose_no_event(kafka: str, namespace: str, tmp_path: Path) -> None:
    """About forty random faults in six seconds: nothing is lost, altered or out of order."""
    faults = takewhile(lambda due: due.at < CHAOS, Chaos(5, 0.15).faults())
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps([{"at": due.at, "fault": due.fault.to_json()} for due in faults]))
    planned = len(json.loads(plan.read_text()))
    with MixServer(tmp_path / "mix", "--sessions", 3, "--rate", 200, "--faults", plan) as mix:
        with started(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            wait_until(lambda: fault_count(mix) >= planned, 60, f"{planned} faults", 0.2)
            mix.post("/control/pause")
            mix.clear()
            wait_at_the_end(bridge, mix)
            assert bridge.terminate() == 0
        proof = prove(kafka, [f"{namespace}.events", f"{namespace}.dead-letters"], mix.journal(), new_epochs=True)
        assert [mix.lost(each["id"]) for each in mix.get("/control/sessions")] == [set()] * 3
    print(f"{planned} faults, {proof.events} events, {proof.repeats} repeats")
    assert proof.events > 1000


def fault_count(mix: MixServer) -> int:
    """Return how many faults there were; 0 while the server refuses connections."""
    try:
        return len(mix.faults())
    except OSError:
        return 0
