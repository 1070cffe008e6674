"""How ``run`` ends: 0, 69, 75 and 78, what it says then, and how long it takes."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.clock import monotonic
from tests.support.broker import Broker
from tests.support.process import Bridge
from tests.support.scene import (
    accepted,
    last_checkpoint,
    session,
    settings,
    started,
    texts,
    wait_acknowledged,
    wait_logged,
)
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.waiting import wait_until

NOWHERE = "127.0.0.1:9"


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def timed(bridge: Bridge) -> tuple[int, float]:
    """The exit code, and the seconds until it came."""
    begun = monotonic()
    return bridge.wait(), monotonic() - begun


@pytest.mark.parametrize("where", ["refused", "silent"])
def test_kafka_out_of_reach_at_the_start_is_69(namespace: str, tmp_path: Path, silent: str, where: str) -> None:
    """After ``start_timeout``, with a line that says so; tried again meanwhile, and not much later."""
    address = silent if where == "silent" else NOWHERE
    chosen = settings(address, namespace, f"http://{NOWHERE}", {"start_timeout": "2s"})
    bridge = Bridge(tmp_path / "bridge", chosen).start(wait=False)
    code, took = timed(bridge)
    assert code == 69
    assert 2 <= took < 9
    assert "Kafka" in bridge.log_text().splitlines()[-1]
    assert "Traceback" not in bridge.log_text()


@pytest.mark.parametrize("where", ["refused", "silent"])
def test_every_server_out_of_reach_at_the_start_is_69(
    kafka: str, namespace: str, tmp_path: Path, silent: str, where: str
) -> None:
    """Fixed sessions and discovery alike; an address that takes connections but never answers counts too."""
    address = silent if where == "silent" else NOWHERE
    more = {"start_timeout": "2s", "servers.local.sessions": "a", "servers.local.connect_timeout": "1s"}
    bridge = Bridge(tmp_path / "bridge", settings(kafka, namespace, f"http://{address}", more)).start(wait=False)
    code, took = timed(bridge)
    assert code == 69, bridge.log_text()
    assert took < 15
    assert f"local at http://{address}: " in bridge.log_text().splitlines()[-1]


def test_one_server_that_answers_is_enough(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Also when its answer is an error: it is there, and the rest is waited for."""
    with scripted_mix() as mix:
        more = {"start_timeout": "1s", "servers.away.url": f"http://{NOWHERE}"}
        mix.list_answer = b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        with started(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            begun = monotonic()
            wait_until(lambda: monotonic() - begun > 3, 5, "three seconds")
            assert bridge.running
            assert bridge.terminate() == 0


def test_kafka_that_comes_within_the_budget_is_waited_for(namespace: str, tmp_path: Path) -> None:
    """``/livez`` 200 and ``/readyz`` 503 meanwhile; then everything is bridged."""
    broker = Broker(tmp_path / "kafka")
    with scripted_mix() as mix:
        mix.list("a")
        mix.streams = {"a": Feed(3)}
        try:
            with started(tmp_path, settings(broker.bootstrap, namespace, mix.url)) as bridge:
                wait_logged(bridge, "Kafka is not ready")
                assert (bridge.get("/livez").status, bridge.get("/readyz").status) == (200, 503)
                broker.start()
                wait_acknowledged(bridge, "a", 3)
                bridge.wait_ready()
                assert bridge.terminate() == 0
        finally:
            broker.remove()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_the_middle_of_the_start_is_0(namespace: str, tmp_path: Path, number: signal.Signals) -> None:
    """While Kafka is waited for, and soon."""
    chosen = settings(NOWHERE, namespace, f"http://{NOWHERE}", {"start_timeout": 0})
    with started(tmp_path, chosen) as bridge:
        bridge.send(number)
        code, took = timed(bridge)
        assert (code, "Traceback" in bridge.log_text()) == (0, False)
        assert took < 5


def test_a_stop_before_anything_is_there_is_no_traceback(namespace: str, tmp_path: Path) -> None:
    """Signals while the interpreter still imports: it ends at once, by the signal or with 0."""
    for delay in (0.05, 0.2, 0.4, 0.6):
        bridge = Bridge(tmp_path / str(delay), settings(NOWHERE, namespace, f"http://{NOWHERE}", {"start_timeout": 0}))
        bridge.start(wait=False)
        begun = monotonic()
        wait_until(lambda begun=begun, delay=delay: monotonic() - begun > delay, 2)  # type: ignore[misc]
        bridge.send(signal.SIGTERM)
        assert bridge.wait(10) in {0, -signal.SIGTERM}
        assert "Traceback" not in bridge.log_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_orderly_stop_delivers_what_was_read(
    kafka: str, namespace: str, tmp_path: Path, number: signal.Signals
) -> None:
    """0, soon, even in the middle of a stream and beside a server that never answers; the last position is written."""
    with scripted_mix() as mix, socket.create_server(("127.0.0.1", 0)) as mute:
        feed = Feed(2000)
        mix.list("a")
        mix.streams = {"a": feed}
        more = {
            "servers.mute.url": f"http://127.0.0.1:{mute.getsockname()[1]}",
            "servers.mute.sessions": "x",
            "delivery.checkpoint_interval": "1h",
        }
        with started(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            wait_acknowledged(bridge, "a", 1)
            feed.add(500)
            bridge.send(number)
            code, took = timed(bridge)
            assert code == 0
            assert took < 5
            assert bridge.log_lines()[-1]["event"].startswith("stopped: everything read is delivered")
    last = last_checkpoint(kafka, namespace, "a")
    got = accepted(kafka, namespace, "a")
    assert [one.sequence for one in got] == list(range(1, last["sequence"] + 1))
    assert last["last_event_id"] == str(last["sequence"])


def test_a_stop_that_cannot_deliver_is_75_and_loses_nothing(
    pausable_broker: Broker, namespace: str, tmp_path: Path
) -> None:
    """Kafka paused: ``drain_timeout``, 75 and why; after the next start nothing is missing."""
    broker = pausable_broker
    with scripted_mix() as mix:
        feed = Feed(5)
        mix.list("a")
        mix.streams = {"a": feed}
        chosen = settings(broker.bootstrap, namespace, mix.url, {"delivery.drain_timeout": "1500ms"})
        with started(tmp_path, chosen) as bridge:
            wait_acknowledged(bridge, "a", 5)
            broker.pause()
            feed.add(5)
            wait_until(lambda: session(bridge, "a")["sequence"] == 10, 10, "ten read")
            bridge.send(signal.SIGTERM)
            code, took = timed(bridge)
            assert code == 75
            assert 1.4 < took < 5
            assert "delivery.drain_timeout" in bridge.log_text().splitlines()[-1]
            broker.resume()
            bridge.start("--set", "delivery.drain_timeout=30s")  # this stop is to find the time it needs
            wait_acknowledged(bridge, "a", 10)
            assert bridge.terminate() == 0
        assert texts(broker.bootstrap, namespace, "a") == [str(number) for number in range(1, 11)]


def test_a_second_signal_stops_at_once_with_75(pausable_broker: Broker, namespace: str, tmp_path: Path) -> None:
    """While the first one still waits for a paused Kafka."""
    broker = pausable_broker
    with scripted_mix() as mix:
        feed = Feed(5)
        mix.list("a")
        mix.streams = {"a": feed}
        with started(tmp_path, settings(broker.bootstrap, namespace, mix.url)) as bridge:
            wait_acknowledged(bridge, "a", 5)
            broker.pause()
            feed.add(5)
            wait_until(lambda: session(bridge, "a")["sequence"] == 10, 10, "ten read")
            bridge.send(signal.SIGTERM)
            begun = monotonic()
            wait_until(lambda: monotonic() - begun > 1, 3, "a second")
            assert bridge.running
            bridge.send(signal.SIGTERM)
            code, took = timed(bridge)
            assert code == 75
            assert took < 2


def test_a_port_that_is_taken_is_78(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Before anything is created or bridged; the line names the key, the port and the way out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        chosen = settings(kafka, namespace, f"http://{NOWHERE}", {"http.port": port})
        bridge = Bridge(tmp_path / "bridge", chosen).start(wait=False)
        assert bridge.wait() == 78
    (line,) = bridge.log_text().splitlines()
    assert line.startswith("http.port: ")
    assert str(port) in line


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kafka.properties.no.such.name", "secret-value"),
        ("kafka.properties.socket.timeout.ms", "-5000"),
        ("kafka.properties.broker.address.family", "secret-value"),
    ],
)
def test_a_property_the_client_does_not_know_is_78(
    kafka: str, namespace: str, tmp_path: Path, key: str, value: str
) -> None:
    """The line names the property, and never its value."""
    bridge = Bridge(tmp_path / "bridge", settings(kafka, namespace, f"http://{NOWHERE}"))
    bridge.start("--set", f"{key}={value}", wait=False)
    assert bridge.wait() == 78
    assert key.removeprefix("kafka.properties.") in bridge.log_text()
    assert value not in bridge.log_text()
