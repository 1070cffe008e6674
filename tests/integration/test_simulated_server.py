"""The simulated server's own truth through a whole bridge: the proof against its journal holds under faults."""

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
"""A server whose events have none is refused."""
WITH_ID = [kind for kind in MALFORMED_EVENTS if kind not in WITHOUT_ID]


def wait_settled(bridge: Bridge, mix: MixServer, name: str) -> None:
    """Return once the bridge has as many events acknowledged as the server says it published."""

    def settled() -> bool:
        told = session(bridge, name)
        return told.get("acknowledged_sequence", 0) >= mix.counts(name)["published"] and not told["in_flight"]

    wait_until(settled, 30, f"all of {name}, see {bridge.log}", 0.05)


@pytest.mark.usefixtures("numbers_of_any_length")
def test_the_proof_holds_for_every_poison(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Each kind between ordinary events: in the events or the dead letters, as the journal has it, byte for byte."""
    with MixServer(tmp_path / "mix", *SILENT) as mix:
        (name,) = (each["id"] for each in mix.get("/control/sessions"))
        with started(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            for kind in WITH_ID:
                mix.burst(name, 1)
                mix.poison(name, kind)
            mix.burst(name, 1)
            wait_settled(bridge, mix, name)
            assert bridge.terminate() == 0
        proof = prove(kafka, [f"{namespace}.events", f"{namespace}.dead-letters"], mix.journal())
    assert proof.events == 2 * len(WITH_ID) + 1


def wait_at_the_end(bridge: Bridge, mix: MixServer) -> None:
    """Return once each session stands at its journal's last id, with nothing under way."""

    def behind() -> list[str]:
        told = {name: session(bridge, name) for name in mix.journal()}
        ends = {name: entries[-1].id for name, entries in mix.journal().items()}
        return [
            name for name, one in told.items() if (one.get("last_event_id"), one.get("in_flight")) != (ends[name], 0)
        ]

    wait_until(lambda: not behind(), 60, f"the end of {behind()}, see {bridge.log}", 0.2)


def test_the_proof_holds_under_chaos(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Some forty faults by chance in six seconds, all harmless to the truth: nothing is lost, torn or out of order."""
    row = takewhile(lambda due: due.at < CHAOS, Chaos(5, 0.15).faults())
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps([{"at": due.at, "fault": due.request.to_json()} for due in row]))
    planned = len(json.loads(plan.read_text()))
    with MixServer(tmp_path / "mix", "--sessions", 3, "--rate", 200, "--faults", plan) as mix:
        with started(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            wait_until(lambda: happened(mix) >= planned, 60, f"{planned} faults", 0.2)
            mix.post("/control/pause")
            mix.clear()
            wait_at_the_end(bridge, mix)
            assert bridge.terminate() == 0
        proof = prove(kafka, [f"{namespace}.events", f"{namespace}.dead-letters"], mix.journal(), new_epochs=True)
        assert [mix.lost(each["id"]) for each in mix.get("/control/sessions")] == [set()] * 3
    print(f"{planned} faults, {proof.events} events, {proof.repeats} repeats")
    assert proof.events > 1000


def happened(mix: MixServer) -> int:
    """How many faults there were; 0 while the server refuses to say."""
    try:
        return len(mix.faults())
    except OSError:
        return 0
