"""A whole bridge delivers exactly the simulated server's journal, under malformed events."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.simulator.faults.malformed_events import MALFORMED_EVENTS
from tests.support.mix import MixServer, prove
from tests.support.process import Bridge
from tests.support.scene import bridged, session, settings
from tests.support.waiting import wait_until

SILENT = ("--sessions", 1, "--rate", 0, "--heartbeat", 0)
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
        with bridged(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            for kind in WITH_ID:
                mix.burst(name, 1)
                mix.publish_malformed(name, kind)
            mix.burst(name, 1)
            wait_settled(bridge, mix, name)
        proof = prove(kafka, [f"{namespace}.events", f"{namespace}.dead-letters"], mix.journal())
    assert proof.events == 2 * len(WITH_ID) + 1
