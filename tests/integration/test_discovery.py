"""Which sessions are bridged: configured, discovered or announced by an event; and how others are reported."""

from __future__ import annotations

from pathlib import Path

from tests.support.mix import MixServer, prove
from tests.support.scene import bridged, session, settings, started, status, texts, wait_acknowledged, wait_logged
from tests.support.scripted_mix import Feed, listing, scripted_mix
from tests.support.waiting import wait_until

SILENT = ("--rate", 0)


def test_a_new_session_is_bridged_at_once_when_an_event_announces_it(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """Before the next poll, and from its first event on."""
    with MixServer(tmp_path / "mix", "--sessions", 1, *SILENT) as mix:
        chosen = settings(kafka, namespace, mix.url, {"servers.local.discover_interval": "10m"})
        with bridged(tmp_path, chosen) as bridge:
            wait_until(lambda: [one["state"] for one in status(bridge)["sessions"]] == ["streaming"], 20, "a stream")
            mix.post("/control/sessions", {"id": "late", "rate": 0})
            mix.post("/control/sessions/late/burst", {"count": 50})
            wait_acknowledged(bridge, "late", 50)
        prove(kafka, [f"{namespace}.events"], mix.journal())


def test_subagents_are_bridged_only_with_include_subagents(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Even if the server lists them always."""
    with scripted_mix() as mix:
        mix.listed = [listing("main"), listing("helping", sessionType="subagent", parentSessionId="main")]
        mix.streams = {"main": Feed(1), "helping": Feed(1)}
        chosen = settings(kafka, namespace, mix.url)
        with bridged(tmp_path, chosen) as bridge:
            wait_acknowledged(bridge, "main", 1)
            listed = mix.lists
            wait_until(lambda: mix.lists > listed + 1, 10, "two more polls")
            assert session(bridge, "helping") == {}
        with started(tmp_path / "2", chosen | {"servers.local.include_subagents": True}) as bridge:
            wait_acknowledged(bridge, "helping", 1)


def test_sessions_above_the_limit_are_logged_as_an_error(kafka: str, namespace: str, tmp_path: Path) -> None:
    """They are counted in the status and in the metrics, and one of them starts when a place is free."""
    with scripted_mix() as mix:
        mix.list(*(f"s{number}" for number in range(5)))
        mix.streams = {f"s{number}": Feed(1) for number in range(5)}
        with started(tmp_path, settings(kafka, namespace, mix.url, {"servers.local.max_sessions": 3})) as bridge:
            # Shards are acquired one after the other, so a smaller number may have been logged before.
            line = wait_logged(bridge, "max_sessions", '"not_bridged": 2')
            assert (line["level"], line["server"]) == ("error", "local")
            assert status(bridge)["servers"]["local"]["not_bridged"] == 2
            assert 'mix_bridge_sessions_not_bridged{server="local"} 2.0' in bridge.get("/metrics").text
            wait_until(lambda: len(status(bridge)["sessions"]) == 3, 10, "three sessions")
            gone = mix.streams["s0"]
            assert isinstance(gone, Feed)
            mix.list(*(f"s{number}" for number in range(1, 5)))
            gone.push("session_deleted", '{"type":"session_deleted","sessionId":"s0"}')
            wait_acknowledged(bridge, "s3", 1)
            wait_until(lambda: status(bridge)["servers"]["local"]["not_bridged"] == 1, 10, "one left out")


def test_several_servers_in_one_daemon(kafka: str, namespace: str, tmp_path: Path) -> None:
    """The same session id on two servers is two sessions; a third server that is down affects neither."""
    with scripted_mix() as one, scripted_mix() as other:
        for mix, count in ((one, 3), (other, 5)):
            mix.serve({"same": Feed(count)})
        more = {"servers.other.url": other.url, "servers.away.url": "http://127.0.0.1:9"}
        with bridged(tmp_path, settings(kafka, namespace, one.url, more)) as bridge:
            wait_acknowledged(bridge, "same", 3)
            wait_acknowledged(bridge, "same", 5, "other")
            assert {name: each["reachable"] for name, each in status(bridge)["servers"].items()} == {
                "local": True,
                "other": True,
                "away": False,
            }
    assert texts(kafka, namespace, "same") == ["1", "2", "3"]
    assert texts(kafka, namespace, "same", "other") == ["1", "2", "3", "4", "5"]
