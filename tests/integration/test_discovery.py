"""Which sessions are bridged: configured, discovered or announced by an event; and how others are reported."""

from __future__ import annotations

from pathlib import Path

from bridge.clock import rfc3339, unix_ms
from tests.support.mix import MixServer, prove
from tests.support.scene import session, settings, started, status, texts, wait_acknowledged, wait_logged
from tests.support.scripted_mix import Feed, listing, scripted_mix
from tests.support.waiting import wait_until

SILENT = ("--rate", 0)


def test_a_new_session_is_bridged_at_once_when_an_event_announces_it(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """Before the next poll, and from its first event on."""
    with MixServer(tmp_path / "mix", "--sessions", 1, *SILENT) as mix:
        chosen = settings(kafka, namespace, mix.url, {"servers.local.discover_interval": "10m"})
        with started(tmp_path, chosen) as bridge:
            wait_until(lambda: [one["state"] for one in status(bridge)["sessions"]] == ["streaming"], 20, "a stream")
            mix.post("/control/sessions", {"id": "late", "rate": 0})
            mix.post("/control/sessions/late/burst", {"count": 50})
            wait_acknowledged(bridge, "late", 50)
            assert bridge.terminate() == 0
        prove(kafka, [f"{namespace}.events"], mix.journal())


def test_nothing_of_a_session_discovered_late_is_missed(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Sessions that had events before the bridge started, or before a poll listed them."""
    with MixServer(tmp_path / "mix", "--sessions", 0, *SILENT) as mix:
        mix.post("/control/sessions", {"id": "early", "rate": 0})
        mix.post("/control/sessions/early/burst", {"count": 30})
        with started(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            wait_acknowledged(bridge, "early", 30)
            mix.post("/control/sessions", {"id": "later", "rate": 0})
            mix.post("/control/sessions/later/burst", {"count": 30})
            wait_acknowledged(bridge, "later", 30)
            assert bridge.terminate() == 0
        prove(kafka, [f"{namespace}.events"], mix.journal())


def test_only_configured_sessions_are_bridged_when_discovery_is_off(kafka: str, namespace: str, tmp_path: Path) -> None:
    """The server is never polled for its sessions."""
    with scripted_mix() as mix:
        mix.serve({"a": Feed(3), "b": Feed(3), "c": Feed(3)})
        more = {"servers.local.discover": False, "servers.local.sessions": ["a", "c"]}
        with started(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            wait_acknowledged(bridge, "a", 3)
            wait_acknowledged(bridge, "c", 3)
            assert bridge.terminate() == 0
        assert ({each.session for each in mix.asked}, mix.lists) == ({"a", "c"}, 0)
    assert texts(kafka, namespace, "b") == []


def test_configured_sessions_are_bridged_besides_the_listed_ones(kafka: str, namespace: str, tmp_path: Path) -> None:
    """A configured session need not be listed; one that is both has one connection."""
    with scripted_mix() as mix:
        mix.list("a", "b")
        mix.streams = {"a": Feed(1), "b": Feed(1), "hidden": Feed(1)}
        more = {"servers.local.sessions": ["hidden", "a"]}
        with started(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            for each in ("a", "b", "hidden"):
                wait_acknowledged(bridge, each, 1)
            assert bridge.terminate() == 0
        assert sorted(each.session for each in mix.asked) == ["a", "b", "hidden"]


def test_subagents_are_bridged_only_with_include_subagents(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Even if the server lists them always."""
    with scripted_mix() as mix:
        mix.listed = [listing("main"), listing("helping", sessionType="subagent", parentSessionId="main")]
        mix.streams = {"main": Feed(1), "helping": Feed(1)}
        chosen = settings(kafka, namespace, mix.url)
        with started(tmp_path, chosen) as bridge:
            wait_acknowledged(bridge, "main", 1)
            listed = mix.lists
            wait_until(lambda: mix.lists > listed + 1, 10, "two more polls")
            assert session(bridge, "helping") == {}
            assert bridge.terminate() == 0
        with started(tmp_path / "2", chosen | {"servers.local.include_subagents": True}) as bridge:
            wait_acknowledged(bridge, "helping", 1)


def test_old_sessions_are_not_discovered(kafka: str, namespace: str, tmp_path: Path) -> None:
    """``created_within`` accepts sessions of unknown age, and does not apply to configured sessions."""
    with scripted_mix() as mix:
        mix.listed = [
            listing("old", createdAt=rfc3339(unix_ms() - 7_200_000)),
            listing("fixed", createdAt=rfc3339(unix_ms() - 7_200_000)),
            listing("young", createdAt=rfc3339(unix_ms() - 60_000)),
            listing("ageless", createdAt=None),
        ]
        mix.streams = {name: Feed(1) for name in ("old", "fixed", "young", "ageless")}
        more = {"servers.local.created_within": "1h", "servers.local.sessions": ["fixed"]}
        with started(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            for each in ("young", "fixed", "ageless"):
                wait_acknowledged(bridge, each, 1)
            assert session(bridge, "old") == {}


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


def test_an_invalid_list_ends_no_session(kafka: str, namespace: str, tmp_path: Path) -> None:
    """A page instead of a list, and invalid entries: running sessions continue, valid entries are used."""
    with scripted_mix() as mix:
        mix.list("a")
        feed = Feed(1)
        mix.streams = {"a": feed, "b": Feed(1)}
        with started(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            wait_acknowledged(bridge, "a", 1)
            mix.list_answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi"
            assert wait_logged(bridge, "discovery failed")["level"] == "warning"
            feed.add(1)
            wait_acknowledged(bridge, "a", 2)
            mix.listed = [{"id": 7}, listing("b"), "nonsense"]
            mix.list_answer = None
            wait_acknowledged(bridge, "b", 1)
            assert wait_logged(bridge, "2 of 3 listed sessions skipped")["level"] == "warning"
            assert session(bridge, "a")["state"] == "streaming"


def test_several_servers_in_one_daemon(kafka: str, namespace: str, tmp_path: Path) -> None:
    """The same session id on two servers is two sessions; a third server that is down affects neither."""
    with scripted_mix() as one, scripted_mix() as other:
        for mix, count in ((one, 3), (other, 5)):
            mix.serve({"same": Feed(count)})
        more = {"servers.other.url": other.url, "servers.away.url": "http://127.0.0.1:9"}
        with started(tmp_path, settings(kafka, namespace, one.url, more)) as bridge:
            wait_acknowledged(bridge, "same", 3)
            wait_acknowledged(bridge, "same", 5, "other")
            assert {name: each["reachable"] for name, each in status(bridge)["servers"].items()} == {
                "local": True,
                "other": True,
                "away": False,
            }
            assert bridge.terminate() == 0
    assert texts(kafka, namespace, "same") == ["1", "2", "3"]
    assert texts(kafka, namespace, "same", "other") == ["1", "2", "3", "4", "5"]
