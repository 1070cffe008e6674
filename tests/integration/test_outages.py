"""Kafka or servers down after the start: visible from outside, retried for ever, and nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.broker import Broker
from tests.support.mix import MixServer
from tests.support.process import Bridge
from tests.support.scene import bridged, session, settings, started, status, texts, wait_acknowledged, wait_logged
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.waiting import wait_until


def check(bridge: Bridge, name: str) -> Any:
    """One check of ``/readyz``."""
    return next(each for each in bridge.get("/readyz").json()["checks"] if each["name"] == name)


def test_an_outage_of_kafka_is_visible_and_loses_nothing(namespace: str, tmp_path: Path) -> None:
    """Broker killed: ``/readyz`` 503 with advice, ``/livez`` 200, a log line. Started again: 200, nothing missing."""
    with Broker(tmp_path / "kafka") as broker, scripted_mix() as mix:
        feed = Feed(10)
        mix.serve({"a": feed})
        with bridged(tmp_path, settings(broker.bootstrap, namespace, mix.url)) as bridge:
            wait_acknowledged(bridge, "a", 10)
            bridge.wait_ready()
            broker.kill()
            feed.add(40)
            wait_until(lambda: bridge.get("/readyz").status == 503, 20, "a 503 of /readyz", 0.1)
            assert "kafka.bootstrap_servers" in check(bridge, "kafka")["detail"]
            assert bridge.get("/livez").status == 200
            assert session(bridge, "a")["state"] == "streaming"
            assert session(bridge, "a")["in_flight"] >= 40
            assert wait_logged(bridge, "Kafka does not answer")["level"] in {"warning", "error"}
            broker.start()
            wait_acknowledged(bridge, "a", 50)
            bridge.wait_ready()
            assert wait_logged(bridge, "Kafka answers again")["level"] == "info"
        assert texts(broker.bootstrap, namespace, "a") == [str(number) for number in range(1, 51)]


def test_an_outage_of_a_server_is_visible_and_survived(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Server killed: not ready, not reachable, its sessions wait with the reason; it is retried for ever."""
    more = {"servers.local.sessions": "a,b"}
    with MixServer(tmp_path / "mix", "--sessions", 0) as mix:
        for name in ("a", "b"):
            mix.post("/control/sessions", {"id": name, "rate": 0})
            mix.post(f"/control/sessions/{name}/burst", {"count": 5})
        with bridged(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            wait_acknowledged(bridge, "a", 5)
            bridge.wait_ready()
            assert status(bridge)["servers"]["local"]["reachable"] is True
            mix.kill()
            wait_until(lambda: bridge.get("/readyz").status == 503, 10, "a 503 of /readyz")
            assert "local" in check(bridge, "sessions")["detail"]
            assert bridge.get("/livez").status == 200
            wait_until(lambda: status(bridge)["servers"]["local"]["reachable"] is False, 10, "unreachable")
            assert session(bridge, "a")["last_error"]
            reconnects = session(bridge, "a")["reconnects"]
            wait_until(lambda: session(bridge, "a")["reconnects"] > reconnects + 3, 10, "more tries")


def test_an_outage_of_a_server_is_visible_without_a_session_too(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Discovery alone, and an empty list: 200 while it answers, 503 with advice as soon as it is down."""
    with (
        MixServer(tmp_path / "mix", "--sessions", 0) as mix,
        bridged(tmp_path, settings(kafka, namespace, mix.url)) as bridge,
    ):
        bridge.wait_ready()
        assert status(bridge)["sessions"] == []
        mix.kill()
        wait_until(lambda: bridge.get("/readyz").status == 503, 10, "a 503 of /readyz", 0.05)
        assert "servers.<name>.url" in check(bridge, "servers")["detail"]
        assert check(bridge, "sessions")["ok"] is True
        assert bridge.get("/livez").status == 200


def test_a_refused_token_is_visible_without_a_session_too(kafka: str, namespace: str, tmp_path: Path) -> None:
    """A server that answers each request with 401 is reachable, but nothing is bridged."""
    token = tmp_path / "token"
    token.write_text("right\n")
    more = {"servers.local.token_file": token}
    with scripted_mix() as mix:
        mix.token = "right"
        with bridged(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            bridge.wait_ready()
            token.write_text("wrong\n")
            wait_until(lambda: bridge.get("/readyz").status == 503, 10, "a 503 of /readyz", 0.05)
            assert "token" in check(bridge, "servers")["detail"]
            assert wait_logged(bridge, "discovery failed", "401")
            token.write_text("right\n")
            bridge.wait_ready()
        token.write_text("wrong\n")
        with started(tmp_path / "again", settings(kafka, namespace, mix.url, more)) as bridge:
            wait_logged(bridge, "discovery failed", "401")
            assert check(bridge, "servers")["ok"] is False
            assert bridge.get("/readyz").status == 503
