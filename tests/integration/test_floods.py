"""An outage of a server with many sessions: few log lines, with counts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from bridge.clock import monotonic
from bridge.observe.repeats import INTERVAL
from tests.support.process import Bridge
from tests.support.scene import bridged, settings
from tests.support.waiting import wait_until

SESSIONS = [f"s{number}" for number in range(200)]


def reconnects(bridge: Bridge) -> float:
    lines = bridge.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("mix_bridge_reconnects_total"))


def test_an_outage_writes_one_line_per_server_reason_and_interval(kafka: str, namespace: str, tmp_path: Path) -> None:
    """However many sessions try again, however often; the last line has the number of the others."""
    more = {
        "servers.local.sessions": SESSIONS,
        "servers.other.url": "http://127.0.0.1:9",
        "servers.other.sessions": "a,b",
        "start_timeout": 0,
        "log.level": "info",
    }
    began = monotonic()
    with bridged(tmp_path, settings(kafka, namespace, "http://127.0.0.1:9", more)) as bridge:
        wait_until(lambda: reconnects(bridge) > 5 * len(SESSIONS), 60, "many reconnects", 0.2)
    intervals = int((monotonic() - began) // INTERVAL) + 1
    lines = [line for line in bridge.log_lines() if "session" in line]
    kinds = Counter((line["event"], line["server"], line.get("reason")) for line in lines)
    assert max(kinds.values()) <= 1 + intervals, kinds  # the first one, and the counts
    assert len(kinds) <= 8, kinds
    counted = [line for line in lines if line["event"] == "disconnected" and "repeats" in line]
    assert {line["server"] for line in counted} == {"local", "other"}
    assert max(line["sessions"] for line in counted) >= len(SESSIONS) - 1
    assert sum(line["repeats"] for line in counted) >= 5 * len(SESSIONS)
