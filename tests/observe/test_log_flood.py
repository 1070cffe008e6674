"""A failure of thousands of sessions at once."""

from __future__ import annotations

import io
import json
from collections import Counter

from structlog.stdlib import get_logger

from bridge.observe.log_writer import flush_logs
from bridge.observe.logs import configure
from tests.support.log_setup import restored_logging

SESSIONS = 10_000


def test_ten_thousand_sessions_that_fail_at_once_write_few_lines() -> None:
    """Each logs what a worker logs in an outage; below 100 lines are written, and none of the kinds is missing."""
    out = io.StringIO()
    kinds = [("broken", "connection reset"), ("refused", "connect: Connection refused"), ("status", "503")]
    with restored_logging():
        configure("info", "json", stream=out)
        for number in range(SESSIONS):
            server, (reason, detail) = f"server-{number % 5}", kinds[number % len(kinds)]
            log = get_logger("bridge.session").bind(server=server, session=f"s{number}")
            log.warning(
                "disconnected", reason=reason, detail=f"{detail} (attempt {number})", reconnect_in=number / 1000
            )
            log.info("connected", last_event_id=str(number))
            log.error("session gap", reason="ids_jumped", detail=f"{number} missing", missing=number)
        flush_logs()
        lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(lines) < 100
    assert {(line["event"], line["server"]) for line in lines} == {
        (event, f"server-{server}") for event in ("disconnected", "connected", "session gap") for server in range(5)
    }
    assert Counter(line.get("reason") for line in lines)["status"] >= 5
