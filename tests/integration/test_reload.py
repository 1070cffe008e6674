"""SIGHUP: the settings of a running bridge are read again."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.notify_socket import NotifySocket
from tests.support.process import Bridge
from tests.support.scene import settings, status, wait_acknowledged, wait_logged
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.waiting import wait_until

STREAMS = 20


@contextmanager
def bridge_with_file(
    folder: Path, chosen: dict[str, object], toml: str, notify: str = ""
) -> Iterator[tuple[Bridge, Path]]:
    """A running bridge whose changing settings are in a file, with the address of a service manager."""
    file = folder / "bridge.toml"
    file.write_text(toml)
    with Bridge(folder / "bridge", chosen, variables={"NOTIFY_SOCKET": notify}).start("--config", str(file)) as bridge:
        yield bridge, file


def test_a_reload_under_load_changes_the_level_and_nothing_else(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Twenty streams continue on their connections; other keys are named; broken TOML changes nothing."""
    feeds = {f"s{number}": Feed(5) for number in range(STREAMS)}
    with scripted_mix(feeds) as mix:
        chosen = settings(kafka, namespace, mix.url)
        toml = '[log]\nlevel = "warning"\n'
        with (
            NotifySocket(tmp_path) as manager,
            bridge_with_file(tmp_path, chosen, toml, manager.address) as (bridge, file),
        ):
            manager.wait("READY")
            for name in feeds:
                wait_acknowledged(bridge, name, 5)
            before = {each["session"]: each["reconnects"] for each in status(bridge)["sessions"]}
            pid = bridge.pid
            assert "info" not in {line["level"] for line in bridge.log_lines()}
            file.write_text(
                '[log]\nlevel = "info"\n[delivery]\nmax_in_flight = 77\n[servers.other]\nurl = "http://o:1"\n'
            )
            for feed in feeds.values():
                feed.add(5)
            bridge.send(signal.SIGHUP)
            line = wait_logged(bridge, "settings reloaded")  # a line of the new level
            others = ["delivery.max_in_flight", "servers.other"]
            assert (line["level"], line["applied"], line["needs_restart"]) == ("info", ["log.level"], others)
            for key in others:
                wait_logged(bridge, "needs a restart", key)
            for name in feeds:
                wait_acknowledged(bridge, name, 10)
            file.write_text("[log\nlevel = ")
            bridge.send(signal.SIGHUP)
            wait_logged(bridge, "settings not reloaded", "is not TOML")
            file.write_text('[log]\nlevel = "loud"\n[http]\nhost = ""\n')
            bridge.send(signal.SIGHUP)
            for key in ("log.level", "http.host"):
                wait_logged(bridge, "settings not reloaded", f'"{key}"')
            assert {each["session"]: each["reconnects"] for each in status(bridge)["sessions"]} == before
            assert bridge.pid == pid
            assert bridge.running
            manager.wait("READY", count=4)
            assert (manager.count("READY"), manager.count("RELOADING")) == (4, 3)  # the start, and after each reload
            assert bridge.terminate() == 0
            manager.wait("STOPPING")


def test_a_reload_before_kafka_answers_and_during_the_shutdown_is_safe(tmp_path: Path) -> None:
    """The process continues in both. Meanwhile it extends its start, and it is never ready."""
    chosen: dict[str, object] = {
        "kafka.bootstrap_servers": "127.0.0.1:9",
        "servers.local.url": "http://127.0.0.1:9",
        "start_timeout": 0,
    }
    chosen["start_timeout"] = 0
    with NotifySocket(tmp_path) as manager, bridge_with_file(tmp_path, chosen, "", manager.address) as (bridge, file):
        manager.wait("EXTEND_TIMEOUT_USEC")
        file.write_text('[log]\nlevel = "debug"\n')
        bridge.send(signal.SIGHUP)
        wait_logged(bridge, "settings reloaded", "log.level")
        bridge.send(signal.SIGTERM)
        bridge.send(signal.SIGHUP)
        assert bridge.wait() == 0
        manager.wait("STOPPING")
        assert (manager.count("READY"), manager.count("RELOADING")) == (0, 0)


def test_planted_secrets_never_appear_at_debug(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Neither those of the start nor those that a reload brings, in any line, and on no page."""
    old = {name: f"hunter2-{name}-one" for name in ("token", "header", "http", "password", "property")}
    secrets = tmp_path / "secrets"
    secrets.mkdir()

    def write(values: dict[str, str]) -> None:
        (secrets / "http__token").write_text(values["http"])
        (secrets / "servers__local__headers__x_key").write_text(values["header"])
        (secrets / "kafka__properties__client_rack").write_text(values["property"])
        (tmp_path / "token").write_text(values["token"])

    write(old)
    with scripted_mix({"s1": Feed(5)}) as mix:
        chosen = settings(kafka, namespace, mix.url) | {
            "log.level": "debug",
            "servers.local.token_file": str(tmp_path / "token"),
            "servers.away.url": f"http://user:{old['password']}@127.0.0.1:9",
        }
        with Bridge(tmp_path / "bridge", chosen).start("--secrets-dir", str(secrets)) as bridge:
            bearer = {"Authorization": f"Bearer {old['http']}"}
            wait_until(lambda: '"acknowledged_sequence": 5' in bridge.get("/api/status", bearer).text, 30, "events")
            new = {name: text.replace("one", "two") for name, text in old.items()}
            write(new)
            bridge.send(signal.SIGHUP)
            line = wait_logged(bridge, "settings reloaded")
            assert line["applied"] == [
                "http.token",
                "kafka.properties.client.rack",
                "servers.local.headers.x-key",
                "servers.local.token_file",
            ]
            bearer = {"Authorization": f"Bearer {new['http']}"}
            wait_until(lambda: json.loads(bridge.get("/api/status", bearer).text)["sessions"][0]["reconnects"] >= 1, 40)
            pages = [bridge.get(path, bearer).text for path in ("/livez", "/readyz", "/metrics", "/api/status")]
            bridge.terminate()
            for text in (bridge.log_text(), *pages):
                assert "hunter2" not in text
