"""Status, metrics and liveness as operators see them, and no secret in any output."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from bridge.core.identity import partition_of
from bridge.daemon.daemon import Daemon
from bridge.daemon.service import Notify
from bridge.daemon.topics import prepare_topics
from bridge.errors import EXIT_OK
from bridge.kafka.producer import IdempotentProducer
from bridge.settings import load
from tests.fakes.raw_client import RawStream
from tests.support.notify_socket import NotifySocket
from tests.support.process import Bridge
from tests.support.scene import bridged, events, settings, started, status, wait_acknowledged, wait_checkpoint
from tests.support.scripted_mix import Feed, block, contents, scripted_mix, stream
from tests.support.waiting import TIMEOUT, let_pass, wait_until


def metric(bridge: Bridge, name: str, **labels: str) -> float:
    """The value of one series."""
    wanted = "{" + ",".join(f'{key}="{value}"' for key, value in sorted(labels.items())) + "}" if labels else ""
    for line in bridge.get("/metrics").text.splitlines():
        series, _, value = line.rpartition(" ")
        if series == f"mix_bridge_{name}{wanted}":
            return float(value)
    raise AssertionError(f"no {name}{wanted}")


def test_metrics_and_status_match_what_was_sent(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Each counter matches the server's events and Kafka's records; the status has the names of the interface."""
    blocks = [
        *contents(*range(1, 11)),
        block("11", "content", "{}"),
        block("12", "content", "no json"),
        block("13", "thinking", '{"type":"thinking","content":"x"}'),
        block("14", "heartbeat", '{"type":"heartbeat"}'),
        *contents(15),
    ]
    with (
        scripted_mix({"a": stream(*blocks)}) as mix,
        bridged(tmp_path, settings(kafka, namespace, mix.url, {"events.skip": "thinking"})) as bridge,
    ):
        wait_acknowledged(bridge, "a", 13)
        wait_checkpoint(kafka, namespace, "a", lambda one: one["sequence"] == 13)
        wait_until(lambda: metric(bridge, "checkpoints_written_total") >= 2, 10, "checkpoints")
        assert metric(bridge, "events_received_total", server="local") == 14
        assert metric(bridge, "events_published_total", server="local") == 11
        assert metric(bridge, "events_skipped_total", server="local") == 1
        assert metric(bridge, "dead_letters_total", server="local", reason="schema") == 1
        assert metric(bridge, "dead_letters_total", server="local", reason="invalid_json") == 1
        assert metric(bridge, "epochs_begun_total", server="local") == 1
        assert metric(bridge, "reconnects_total", server="local") == 0
        assert metric(bridge, "read_bytes_total", server="local") >= sum(map(len, blocks))
        assert metric(bridge, "records_in_flight", server="local") == 0
        assert metric(bridge, "buffer_bytes") == 0
        assert metric(bridge, "sessions", server="local", state="streaming") == 1
        assert "session=" not in bridge.get("/metrics").text
        _check_measurements(bridge, time.time())
        (shown,) = status(bridge)["sessions"]
        _check_page(bridge)
    epoch = json.loads(events(kafka, namespace)[0].value or b"")["epoch"]
    ages = {shown.pop("last_event_age") >= 0, shown.pop("last_byte_age") >= 0}
    assert ages == {True}
    assert shown == {
        "server": "local",
        "session": "a",
        "state": "streaming",
        "last_event_id": "15",
        "epoch": int(epoch),
        "sequence": 13,
        "acknowledged_sequence": 13,
        "in_flight": 0,
        "reconnects": 0,
        "last_error": None,
        "shard": partition_of(b"local/a", 2),
    }
    assert len(events(kafka, namespace)) == 11
    assert len(events(kafka, namespace, "dead-letters")) == 2


def test_nothing_is_logged_per_event(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Not at debug either: hundreds of events of a connection add no line."""
    with scripted_mix({"a": (feed := Feed(3))}) as mix:
        chosen = settings(kafka, namespace, mix.url, {"log.level": "debug"})
        with started(tmp_path, chosen) as bridge:
            wait_acknowledged(bridge, "a", 3)
            before = len(bridge.log_lines())
            feed.add(500)
            wait_acknowledged(bridge, "a", 503)
            assert len(bridge.log_lines()) - before < 100
            about = [line for line in bridge.log_lines() if line["logger"] == "bridge.session"]
            assert {(line["server"], line["session"]) for line in about} == {("local", "a")}


def _check_page(bridge: Bridge) -> None:
    """The detail of session a and the first message of the live page."""
    detail = bridge.get("/api/sessions/local/a").json()
    assert (detail["title"], detail["state"], detail["counters"]["received"]) == ("a", "streaming", 14)
    assert detail["counters"]["dead_letters"] == {"schema": 1, "invalid_json": 1}
    (attached,) = detail["lifecycle"]
    assert (attached["type"], attached["epoch"], attached["sequence"]) == ("attached", detail["epoch"], 0)
    view = _first_view(bridge)
    assert view["verdict"]["text"] == "Ready, but 2 dead letters in the last hour"
    assert view["hour"]["received"] == view["totals"]["received"] == 14
    assert view["sessions"]["local/a"]["received"] == 14
    assert bridge.get("/").text.startswith("<!DOCTYPE html>")


def _first_view(bridge: Bridge, **headers: str) -> Any:
    with RawStream(bridge.url, "/api/stream", **headers) as opened:
        assert "200 OK" in opened.head()
        (whole,) = opened.events(1)
    return json.loads(whole.data)


def _check_measurements(bridge: Bridge, now: float) -> None:
    """What was measured of 13 records, one connection and two shards."""
    assert metric(bridge, "publish_latency_seconds_count", server="local") == 13
    assert 0 < metric(bridge, "publish_latency_seconds_sum", server="local") < 13 * TIMEOUT
    assert metric(bridge, "reconnect_duration_seconds_count", server="local") == 0
    assert metric(bridge, "commit_duration_seconds_count") == metric(bridge, "checkpoints_written_total")
    assert metric(bridge, "restore_duration_seconds_count") == 2
    assert metric(bridge, "assignments_total") == metric(bridge, "shards", state="owned") == 2
    assert metric(bridge, "ready") == metric(bridge, "check_ok", check="kafka") == 1
    for name in ("last_checkpoint_timestamp_seconds", "kafka_last_answer_timestamp_seconds"):
        assert now - TIMEOUT < metric(bridge, name) <= now + 1
    assert metric(bridge, "log_lines_total", level="info") >= 3


SECRETS = {
    "servers.local.token": "tok-7e57-secret",
    "servers.local.headers.x-api-key": "hdr-7e57-secret",
    "servers.other.token_file": "fil-7e57-secret",
    "kafka.sasl_password": "sas-7e57-secret",
    "kafka.properties.client.rack": "prp-7e57-secret",
    "http.token": "htt-7e57-secret",
}


def test_no_secret_in_any_output(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Logs at debug, status, metrics, health: with answers, with refusals, and at a failed start."""
    with scripted_mix() as mix:
        mix.list("a", "b")
        mix.streams = {
            "a": Feed(3),
            "b": lambda peer: peer.send(b"HTTP/1.1 302 x\r\nLocation: http://else.where/\r\n\r\n"),
        }
        file = tmp_path / "token"
        file.write_text(SECRETS["servers.other.token_file"])
        with_credentials = mix.url.replace("http://", "http://user:url-7e57-secret@")
        more: dict[str, object] = {
            **{key: value for key, value in SECRETS.items() if key != "kafka.sasl_password"},
            "servers.other.url": mix.url,
            "servers.other.token_file": file,
            "servers.third.url": with_credentials,
            "servers.fourth.url": "http://user:url-7e57-secret@127.0.0.1:9",
            "servers.fourth.sessions": "x",
            "servers.fifth.url": mix.url,
            "servers.fifth.proxy": "http://user:pxy-7e57-secret@127.0.0.1:9",
            "servers.fifth.sessions": "x",
            "log.level": "debug",
        }
        with started(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            for server in ("local", "other", "third"):
                wait_acknowledged_as(bridge, server)
            paths = ("/livez", "/readyz", "/api/status", "/metrics", "/", "/api/sessions/local/a")
            shown = "".join(asked(bridge, path) for path in paths)
            shown += json.dumps(_first_view(bridge, Authorization=f"Bearer {SECRETS['http.token']}"))
            assert bridge.terminate() == 0
            assert "7e57" not in bridge.log_text()
            assert "7e57" not in shown
        seen = {each.headers.get("authorization", b"") for each in mix.asked}
        assert b"Bearer tok-7e57-secret" in seen
    refused = settings(kafka, namespace, "http://127.0.0.1:9", {"log.level": "debug", "start_timeout": "1s"})
    sasl = {
        "kafka.security_protocol": "sasl_plaintext",
        "kafka.sasl_mechanism": "PLAIN",
        "kafka.sasl_username": "user",
        "kafka.sasl_password": SECRETS["kafka.sasl_password"],
    }
    failing = Bridge(tmp_path / "sasl", refused | sasl).start(wait=False)
    assert failing.wait() == 69
    assert "7e57" not in failing.log_text() + failing.stdout.read_text()


def asked(bridge: Bridge, path: str) -> str:
    """The endpoint's answer to a request with its token."""
    return bridge.get(path, {"Authorization": f"Bearer {SECRETS['http.token']}"}).text


def wait_acknowledged_as(bridge: Bridge, server: str) -> None:
    """Return once three records of session a of this server are acknowledged."""

    def done() -> bool:
        sessions = json.loads(asked(bridge, "/api/status"))["sessions"]
        return any(
            (one["server"], one["session"], one["acknowledged_sequence"]) == (server, "a", 3) for one in sessions
        )

    wait_until(done, 20, f"three records of {server}, see {bridge.log}", 0.05)


def test_a_stuck_delivery_thread_is_not_alive(kafka: str, namespace: str, monkeypatch: Any, tmp_path: Path) -> None:
    """``/livez`` is 503 within 10 s and names the loop, and the service manager's watchdog is not fed.

    Both recover when the loop continues.
    """
    free = threading.Event()
    free.set()
    poll = IdempotentProducer.poll

    def stallable(producer: IdempotentProducer, timeout: float) -> None:
        free.wait(TIMEOUT)
        poll(producer, timeout)

    monkeypatch.setattr(IdempotentProducer, "poll", stallable)
    with scripted_mix() as mix, NotifySocket(tmp_path) as manager:
        mix.serve({"a": Feed(3)})
        flat = settings(kafka, namespace, mix.url)
        chosen = load({key: str(value) for key, value in flat.items()}, {})
        chosen = chosen.model_copy(update={"http": chosen.http.model_copy(update={"port": 0})})
        daemon = Daemon(chosen, prepare_topics, notify=Notify(manager.address))
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(daemon.run()))
        thread.start()
        try:
            wait_until(lambda: any(one.acknowledged_sequence == 3 for one in daemon.snapshot().sessions), 20, "events")
            url = f"http://127.0.0.1:{port_of(daemon)}/livez"
            assert get(url)[0] == 200
            free.clear()
            wait_until(lambda: get(url)[0] == 503, 10, "a 503 of /livez")
            assert "loop:delivery" in get(url)[1]
            manager.clear()
            let_pass(2.5)  # two intervals of the watchdog
            assert manager.count("WATCHDOG") == 0
            free.set()
            wait_until(lambda: get(url)[0] == 200, 5, "a 200 of /livez")
            manager.wait("WATCHDOG", 5)
        finally:
            free.set()
            daemon.stop()
            thread.join(TIMEOUT)
        assert codes == [EXIT_OK]


def port_of(daemon: Daemon) -> int:
    """The port of a daemon in this process."""
    port = daemon.http_port
    assert port is not None
    return port


def get(url: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=TIMEOUT) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode()
