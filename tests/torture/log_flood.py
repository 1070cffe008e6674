"""Ten thousand sessions of servers that are away: the log stays short."""

from __future__ import annotations

from collections import Counter

from tests.support.process import Bridge
from tests.support.scene import settings, started, status
from tests.support.scraped import Scrape
from tests.support.waiting import let_pass, wait_until
from tests.torture.run import Place

_OF_A_SERVER = 5000
_SECONDS = 60.0
_MOST = 100
"""Lines in any second."""


def fail_together(place: Place) -> None:
    """All fail at each attempt for a minute; AssertionError names a second with too many lines."""
    sessions = [f"s{number}" for number in range(_OF_A_SERVER)]
    more = {"start_timeout": 0, "servers.local.sessions": sessions, "servers.local.discover": False} | {
        # As by default: with the short back-off of the tests, the retries leave no connect to the sessions that start.
        "servers.local.reconnect_min": "500ms",
        "servers.local.reconnect_max": "60s",
        "servers.other.url": "http://127.0.0.1:9",
        "servers.other.sessions": sessions,
        "servers.other.discover": False,
    }
    with started(place.folder, settings(place.kafka, place.namespace, "http://127.0.0.1:9", more)) as bridge:
        # By the metrics, and seldom: the status of 10,000 sessions costs the bridge a second of processor time.
        wait_until(lambda: _started(bridge) == 2 * _OF_A_SERVER, 240, f"all sessions, see {bridge.log}", 10.0)
        let_pass(_SECONDS)
        failing = sum(one["last_error"] is not None for one in status(bridge)["sessions"])
        assert bridge.terminate(120) == 0
    by_second = Counter(line["timestamp"][:19] for line in bridge.log_lines())
    most = max(by_second.values())
    assert failing > _OF_A_SERVER, failing
    assert most <= _MOST, by_second.most_common(3)
    print(
        f"| {2 * _OF_A_SERVER:,} sessions fail at once | 1 | | | | | | at most {most} log lines a second |", flush=True
    )


def _started(bridge: Bridge) -> float:
    return sum(value for (name, _), value in Scrape.of(bridge).values.items() if name == "mix_bridge_sessions")
