"""Ten thousand sessions of two servers that end at once: the log stays short."""

from __future__ import annotations

from collections import Counter

from tests.support.mix import MixServer
from tests.support.process import Bridge
from tests.support.scene import settings, started, status
from tests.support.scraped import Scrape
from tests.support.waiting import let_pass, wait_until
from tests.torture.run import Place

_SESSIONS = "mix_bridge_sessions"
_OF_A_SERVER = 5000
_SECONDS = 60.0
_MOST = 100
"""Lines in any second."""


def fail_together(place: Place) -> None:
    """All fail at once, and then at each attempt for a minute; AssertionError names a second with too many lines."""
    options = ("--sessions", _OF_A_SERVER, "--rate", 0)
    with MixServer(place.folder / "one", *options) as one, MixServer(place.folder / "other", *options) as other:
        more = {
            # As by default: with the short back-off of the tests, 10,000 sessions would do nothing but connect.
            "servers.local.reconnect_min": "500ms",
            "servers.local.reconnect_max": "60s",
            "servers.local.discover_interval": "10s",
            "servers.other.url": other.url,
            "delivery.drain_timeout": "5m",  # this is about the log: on a busy machine 10,000 threads end slowly
        }
        with started(place.folder, settings(place.kafka, place.namespace, one.url, more)) as bridge:
            # By the metrics, and seldom: the status of 10,000 sessions costs the bridge a second of processor time.
            wait_until(lambda: _streaming(bridge) == 2 * _OF_A_SERVER, 300, f"all streams, see {bridge.log}", 5.0)
            one.kill()
            other.kill()
            let_pass(_SECONDS)
            failing = sum(each["last_error"] is not None for each in status(bridge)["sessions"])
            assert bridge.terminate(300) == 0
    by_second = Counter(line["timestamp"][:19] for line in bridge.log_lines())
    most = max(by_second.values())
    assert failing == 2 * _OF_A_SERVER, failing
    assert most <= _MOST, by_second.most_common(3)
    print(
        f"| {2 * _OF_A_SERVER:,} sessions fail at once | 1 | | | | | | at most {most} log lines a second |", flush=True
    )


def _streaming(bridge: Bridge) -> float:
    found = Scrape.of(bridge).values.items()
    return sum(value for (name, labels), value in found if name == _SESSIONS and ("state", "streaming") in labels)
