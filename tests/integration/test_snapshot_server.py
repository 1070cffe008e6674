"""With the public server of August 2025, which has no ids, the bridge disturbs no run and reports gaps."""

from __future__ import annotations

import signal
from pathlib import Path

from bridge.clock import monotonic
from tests.support.lifecycle import lifecycle
from tests.support.mix import MixServer, prove
from tests.support.scene import accepted, bridged, events, session, settings, wait_logged
from tests.support.waiting import wait_until

KIND = ("--kind", "snapshot", "--sessions", 0, "--heartbeat", 0.2)
ACCEPT = {"servers.local.without_ids": "accept", "servers.local.discover": False}


def test_every_reconnect_is_reported_as_unresumable(kafka: str, namespace: str, tmp_path: Path) -> None:
    """The server cuts connections by age: there are never two readers, and the bridge cancels no run."""
    with MixServer(tmp_path / "mix", *KIND, "--connection-age", 1) as mix:
        mix.post("/control/sessions", {"id": "a", "rate": 0})
        with bridged(
            tmp_path, settings(kafka, namespace, mix.url, {**ACCEPT, "servers.local.sessions": "a"})
        ) as bridge:
            for turn in range(3):
                wait_until(lambda: session(bridge, "a").get("state") == "streaming", 30, "a stream", 0.02)
                publish_a_whole_run(mix)
                wait_arrived(kafka, namespace, mix)
                before = mix.counts("a")["opened"]
                wait_until(lambda before=before: mix.counts("a")["opened"] > before, 30, f"cut {turn}", 0.02)  # type: ignore[misc]
            assert bridge.terminate() == 0
            bridge.start()
            wait_until(lambda: session(bridge, "a").get("state") == "streaming", 30, "a stream", 0.02)
            publish_a_whole_run(mix)
            wait_arrived(kafka, namespace, mix)
        counts = mix.counts("a")
        prove(kafka, [f"{namespace}.events", f"{namespace}.dead-letters"], mix.journal(), new_epochs=True)
    assert counts["most_readers"] == 1
    assert (counts["cancelled_runs"], counts["refused_runs"], counts["dropped"]) == (0, 0, 0)
    records = lifecycle(kafka, namespace, "a")
    assert records[0].kind == "attached"
    assert len([one for one in records if one.kind == "unresumable"]) >= 3
    assert {one.kind for one in records} == {"attached", "unresumable"}  # attached again if no event had arrived since
    assert len({one.epoch for one in accepted(kafka, namespace, "a")}) >= 4


def wait_arrived(kafka: str, namespace: str, mix: MixServer) -> None:
    """Return when all events are in Kafka, as events or as dead letters."""

    def arrived() -> bool:
        records = [*events(kafka, namespace), *events(kafka, namespace, "dead-letters")]
        return len(records) >= len(mix.journal()["a"])

    wait_until(arrived, 30, "its events", 0.05)


def publish_a_whole_run(mix: MixServer) -> None:
    """Publish events up to the end of a run: the end of the connection would cancel a longer run."""
    while True:
        mix.burst("a", 1)
        if mix.journal()["a"][-1].event in {"complete", "rate_limit_error"}:
            return


def test_its_events_are_refused_by_default(kafka: str, namespace: str, tmp_path: Path) -> None:
    """The session stops at ``connected`` without an id, before any run, and the bridge sends no further request."""
    with MixServer(tmp_path / "mix", *KIND) as mix:
        mix.post("/control/sessions", {"id": "a", "rate": 0})
        more = {"servers.local.sessions": "a", "servers.local.discover": False}
        with bridged(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            assert wait_logged(bridge, "without ids")["setting"] == "servers.local.without_ids"
            wait_until(lambda: session(bridge, "a")["state"] == "refused", 10, "its stop")
            publish_a_whole_run(mix)
        counts = mix.counts("a")
        assert (counts["opened"], counts["cancelled_runs"]) == (1, 0)
    assert lifecycle(kafka, namespace, "a") == []
    assert events(kafka, namespace) == []


def test_an_unknown_session_ends_like_a_404(kafka: str, namespace: str, tmp_path: Path) -> None:
    """It is 200 with one error event: nothing is published, and after a few requests the session ends."""
    with MixServer(tmp_path / "mix", *KIND) as mix:
        more = {**ACCEPT, "servers.local.sessions": "nobody", "servers.local.gone_after": "1s"}
        with bridged(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            ended = wait_logged(bridge, "session ended", "nobody", deadline=30)
            assert ended["reason"] == "gone"
        assert 3 <= len(mix.requests(path="/stream", session="nobody")) <= 30
    assert events(kafka, namespace) == []
    assert events(kafka, namespace, "dead-letters") == []
    assert [one.kind for one in lifecycle(kafka, namespace, "nobody")] == ["ended"]


def test_plain_text_is_not_a_list_of_sessions(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Discovery logs the error; configured sessions are bridged."""
    with MixServer(tmp_path / "mix", *KIND) as mix:
        mix.post("/control/sessions", {"id": "a", "rate": 0})
        more = {"servers.local.without_ids": "accept", "servers.local.sessions": "a"}
        with bridged(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            wait_logged(bridge, "discovery failed", "not JSON")
            wait_until(lambda: session(bridge, "a").get("state") == "streaming", 30, "a stream", 0.02)
            publish_a_whole_run(mix)
            wait_arrived(kafka, namespace, mix)


def test_a_stall_is_reported_as_a_gap(kafka: str, namespace: str, tmp_path: Path) -> None:
    """The server may have dropped events for a stalled reader, and cannot replay them."""
    with MixServer(tmp_path / "mix", *KIND) as mix:
        mix.post("/control/sessions", {"id": "a", "rate": 0})
        more = {**ACCEPT, "servers.local.sessions": "a"}
        with bridged(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            wait_until(lambda: session(bridge, "a").get("state") == "streaming", 30, "a stream", 0.02)
            bridge.send(signal.SIGSTOP)
            until = monotonic() + 5.5
            wait_until(lambda: monotonic() > until, 10, "the time", 0.1)
            publish_a_whole_run(mix)
            bridge.send(signal.SIGCONT)
            wait_arrived(kafka, namespace, mix)
        assert mix.counts("a")["opened"] == 1
    records = lifecycle(kafka, namespace, "a")
    assert [(one.kind, one.reason) for one in records] == [("attached", "new_session"), ("gap", "stood_still")]
