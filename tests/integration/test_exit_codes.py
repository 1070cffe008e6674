"""How ``run`` ends: 0, 69, 75 and 78, its last log line, and how long it takes."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.clock import monotonic
from tests.support.broker import Broker
from tests.support.process import EXECUTED, Bridge
from tests.support.scene import (
    accepted,
    bridged,
    last_checkpoint,
    settings,
    started,
    wait_acknowledged,
    wait_logged,
)
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.waiting import let_pass

NOWHERE = "127.0.0.1:9"
NO_LIMIT = {"delivery.drain_timeout": "1h"}
"""A shutdown that needed the whole ``drain_timeout`` would fail its test."""


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def timed(bridge: Bridge) -> tuple[int, float]:
    """The exit code, and the seconds until the end."""
    begun = monotonic()
    return bridge.wait(), monotonic() - begun


@pytest.mark.parametrize("where", ["refused", "silent"])
def test_an_unreachable_kafka_at_the_start_is_69(namespace: str, tmp_path: Path, silent: str, where: str) -> None:
    """After ``start_timeout``, with a line that says so; it is retried meanwhile."""
    address = silent if where == "silent" else NOWHERE
    chosen = settings(address, namespace, f"http://{NOWHERE}", {"start_timeout": "2s"})
    bridge = Bridge(tmp_path / "bridge", chosen).start(wait=False)
    code, took = timed(bridge)
    assert code == 69
    assert took >= 2
    assert "Kafka" in bridge.log_text().splitlines()[-1]
    assert "Traceback" not in bridge.log_text()


@pytest.mark.parametrize("where", ["refused", "silent"])
def test_no_reachable_server_at_the_start_is_69(
    kafka: str, namespace: str, tmp_path: Path, silent: str, where: str
) -> None:
    """The last line names the URL and the reason. A server that accepts connections and never answers counts too."""
    address = silent if where == "silent" else NOWHERE
    more = {"start_timeout": "4s", "servers.local.sessions": "a", "servers.local.connect_timeout": "1s"}
    bridge = Bridge(tmp_path / "bridge", settings(kafka, namespace, f"http://{address}", more)).start(wait=False)
    assert bridge.wait() == 69, bridge.log_text()
    assert f"local at http://{address}: " in bridge.log_text().splitlines()[-1]


def test_a_kafka_that_starts_within_the_budget_is_waited_for(namespace: str, tmp_path: Path) -> None:
    """``/livez`` 200 and ``/readyz`` 503 meanwhile; then everything is bridged."""
    broker = Broker(tmp_path / "kafka")
    with scripted_mix({"a": Feed(3)}) as mix:
        try:
            with bridged(tmp_path, settings(broker.bootstrap, namespace, mix.url)) as bridge:
                wait_logged(bridge, "Kafka is not ready")
                assert (bridge.get("/livez").status, bridge.get("/readyz").status) == (200, 503)
                broker.start()
                wait_acknowledged(bridge, "a", 3)
                bridge.wait_ready()
        finally:
            broker.remove()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_during_the_start_is_0(namespace: str, tmp_path: Path, number: signal.Signals) -> None:
    """While Kafka is retried, and at once."""
    chosen = settings(NOWHERE, namespace, f"http://{NOWHERE}", {"start_timeout": 0, **NO_LIMIT})
    with started(tmp_path, chosen) as bridge:
        bridge.send(number)
        assert bridge.wait() == 0
        assert "Traceback" not in bridge.log_text()


def test_a_stop_while_the_interpreter_starts_shows_no_traceback(namespace: str, tmp_path: Path) -> None:
    """During the imports: it ends at once, by the signal or with 0."""
    for delay in (0.05, 0.2, 0.4, 0.6):
        chosen = settings(NOWHERE, namespace, f"http://{NOWHERE}", {"start_timeout": 0})
        bridge = Bridge(tmp_path / str(delay), chosen, EXECUTED).start(wait=False)
        let_pass(delay)
        bridge.send(signal.SIGTERM)
        assert bridge.wait() in {0, -signal.SIGTERM}
        assert "Traceback" not in bridge.log_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_graceful_shutdown_delivers_what_was_read(
    kafka: str, namespace: str, tmp_path: Path, number: signal.Signals
) -> None:
    """0, while events flow and beside a server that never answers; the last position is checkpointed."""
    with scripted_mix() as mix, socket.create_server(("127.0.0.1", 0)) as mute:
        feed = Feed(2000)
        mix.serve({"a": feed})
        more = {
            "servers.mute.url": f"http://127.0.0.1:{mute.getsockname()[1]}",
            "servers.mute.sessions": "x",
            "delivery.checkpoint_interval": "1h",
            **NO_LIMIT,
        }
        with started(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            wait_acknowledged(bridge, "a", 1)
            feed.add(500)
            bridge.send(number)
            assert bridge.wait() == 0
            assert bridge.log_lines()[-1]["event"].startswith("stopped: everything read is delivered")
    last = last_checkpoint(kafka, namespace, "a")
    got = accepted(kafka, namespace, "a")
    assert [one.sequence for one in got] == list(range(1, last["sequence"] + 1))
    assert last["last_event_id"] == str(last["sequence"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kafka.properties.no.such.name", "secret-value"),
        ("kafka.properties.socket.timeout.ms", "-5000"),
        ("kafka.properties.broker.address.family", "secret-value"),
    ],
)
def test_an_unknown_or_invalid_property_of_the_client_is_78(
    kafka: str, namespace: str, tmp_path: Path, key: str, value: str
) -> None:
    """The line names the property, and never its value."""
    bridge = Bridge(tmp_path / "bridge", settings(kafka, namespace, f"http://{NOWHERE}"))
    bridge.start("--set", f"{key}={value}", wait=False)
    assert bridge.wait() == 78
    assert key.removeprefix("kafka.properties.") in bridge.log_text()
    assert value not in bridge.log_text()
