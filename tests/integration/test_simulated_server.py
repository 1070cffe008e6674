"""The simulated server's own truth through a whole bridge: the proof against its journal holds under faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.demo.poison import POISONS
from tests.integration.scene import session, settings, started
from tests.kafka.mix import MixServer, prove
from tests.kafka.process import Bridge
from tests.waiting import wait_until

SILENT = ("--sessions", 1, "--rate", 0, "--heartbeat", 0)
WITHOUT_ID = {"no_id", "nul_id", "empty_id"}
"""A server whose events have none is refused."""
WITH_ID = [kind for kind in POISONS if kind not in WITHOUT_ID]


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


def test_the_proof_holds_under_chaos(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Many faults by chance, all harmless to the truth: nothing is lost, whatever is met."""
    options = ("--sessions", 3, "--rate", 200, "--chaos", "5:0.15")
    with MixServer(tmp_path / "mix", *options) as mix:
        names = [each["id"] for each in mix.get("/control/sessions")]
        with started(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            wait_until(lambda: len(mix.journal()[names[0]]) > 1500, 60, "events", 0.2)
            print(bridge.log)
