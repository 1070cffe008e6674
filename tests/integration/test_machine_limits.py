"""Too few threads or descriptors for all sessions: Kafka's clients have theirs, and the rest is visible."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.support.limits import with_files, with_threads
from tests.support.process import Bridge
from tests.support.scene import settings, status, wait_logged
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.waiting import wait_until

FIT = 12
NAMES = [f"s{number}" for number in range(40)]


def states(bridge: Bridge) -> Counter[str]:
    return Counter(each["state"] for each in status(bridge)["sessions"])


def acknowledged(bridge: Bridge) -> int:
    return sum(each["acknowledged_sequence"] == 5 for each in status(bridge)["sessions"])


@pytest.mark.parametrize(
    ("guarantee", "program"),
    [
        ("at_least_once", with_threads(49 + FIT)),
        ("exactly_once", with_threads(59 + FIT)),
        ("at_least_once", with_files(188 + FIT)),
    ],
    ids=["threads", "threads-exactly-once", "files"],
)
def test_what_fits_is_bridged_and_the_rest_is_visible(
    kafka: str, namespace: str, tmp_path: Path, guarantee: str, program: tuple[str, ...]
) -> None:
    """In the status, in ``/readyz`` and in one log line with a number. The process ends with 0."""
    more = {"servers.local.sessions": NAMES, "servers.local.discover": False, "delivery.guarantee": guarantee}
    with scripted_mix() as mix:
        mix.streams = {name: Feed(5) for name in NAMES}
        with Bridge(tmp_path / "bridge", settings(kafka, namespace, mix.url, more), program).start() as bridge:
            wait_until(lambda: acknowledged(bridge) == FIT, 40, f"{FIT} sessions, see {bridge.log}", 0.2)
            assert states(bridge) == {"streaming": FIT, "not_bridged": len(NAMES) - FIT}
            assert status(bridge)["servers"]["local"]["not_bridged"] == len(NAMES) - FIT
            ready = bridge.get("/readyz")
            assert ready.status == 503
            (check,) = [each for each in ready.json()["checks"] if not each["ok"]]
            assert check["name"] == "limits"
            assert f"{len(NAMES) - FIT} sessions" in check["detail"]
            assert bridge.get("/livez").status == 200
            assert wait_logged(bridge, "NOT bridged")["not_bridged"] == len(NAMES) - FIT
            assert bridge.terminate() == 0
        assert sum("NOT bridged" in line for line in bridge.log_text().splitlines()) == 1


@pytest.mark.parametrize("threads", [1, 30])
def test_a_limit_below_the_needs_of_the_kafka_clients_is_refused(namespace: str, tmp_path: Path, threads: int) -> None:
    """With a message instead of an assertion of the Kafka client (exit code 134)."""
    more = {"delivery.guarantee": "exactly_once"}
    chosen = settings("127.0.0.1:9", namespace, "http://127.0.0.1:9", more)
    bridge = Bridge(tmp_path / "bridge", chosen, with_threads(threads)).start(wait=False)
    assert bridge.wait() == 78, bridge.log_text()
    last = bridge.log_text().splitlines()[-1]
    assert "ulimit -u" in last
    assert f"is {threads} for this process, and Kafka's clients need" in last
