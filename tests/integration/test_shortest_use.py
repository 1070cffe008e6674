"""``mix-bridge run`` as users call it: the shortest command, and every source of settings once end to end."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.forked import Process
from tests.support.processes import spawn
from tests.support.repository import REPOSITORY
from tests.support.rule import understand
from tests.support.scene import events, texts
from tests.support.scripted_mix import Feed, ScriptedMix, listing, scripted_mix
from tests.support.topics import partitions_of
from tests.support.waiting import TIMEOUT, wait_until

COMMAND = Path(sysconfig.get_path("scripts")) / "mix-bridge"


@pytest.fixture
def mix() -> object:
    """Three listed sessions with three events each."""
    with scripted_mix() as server:
        server.listed = [listing("a"), listing("b"), listing("c")]
        server.streams = {name: Feed(3) for name in ("a", "b", "c")}
        yield server


def run(arguments: Sequence[object], variables: Mapping[str, str], folder: Path) -> Process:
    """The installed command, in a folder and an environment of its own."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command: list[str | Path] = [COMMAND, *map(str, arguments)]
    return spawn(command, log=folder / "bridge.log", env={**inherited, **variables}, cwd=folder)


def events_of(kafka: str, namespace: str, count: int) -> set[str]:
    """The sessions with events in Kafka, once there are so many records."""
    wait_until(lambda: len(events(kafka, namespace)) >= count, 20, f"{count} records", 0.2)
    return {understand(record).key for record in events(kafka, namespace)}


def terminated(process: Process) -> int:
    """The exit code of a graceful shutdown."""
    process.terminate()
    return process.wait(TIMEOUT)


def test_the_shortest_use(kafka: str, mix: ScriptedMix, namespace: str, tmp_path: Path) -> None:
    """A server, brokers, sessions: the server is called ``local``, topics have default names, discovery is off."""
    arguments = ["run", "--server", mix.url, "--bootstrap-servers", kafka, "--session", "a", "--session", "c"]
    running = run([*arguments, "--set", f"namespace={namespace}", "--set", "http.port=0"], {}, tmp_path)
    assert events_of(kafka, namespace, 6) == {"local/a", "local/c"}
    assert terminated(running) == 0
    assert (len(partitions_of(kafka, f"{namespace}.events")), mix.lists) == (8, 0)
    assert partitions_of(kafka, f"{namespace}.checkpoints") == list(range(8))


def test_without_sessions_all_are_discovered(kafka: str, mix: ScriptedMix, namespace: str, tmp_path: Path) -> None:
    """``--server name=URL`` names the server."""
    arguments = ["run", "--server", f"agents={mix.url}", "--bootstrap-servers", kafka, "--set", "http.port=none"]
    running = run([*arguments, "--set", f"namespace={namespace}"], {}, tmp_path)
    assert events_of(kafka, namespace, 9) == {"agents/a", "agents/b", "agents/c"}
    assert terminated(running) == 0


def test_the_stronger_source_wins(kafka: str, mix: ScriptedMix, namespace: str, tmp_path: Path) -> None:
    """Options over variables over the secrets directory over TOML, in one start."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "servers__local__token").write_text("token-from-file\n")
    (tmp_path / "bridge.toml").write_text(f"""
        namespace = "{namespace}-toml"
        [servers.local]
        url = "{mix.url}"
        token = "token-from-toml"
        [kafka]
        bootstrap_servers = "127.0.0.1:9"
        [events]
        type_prefix = "toml."
        [http]
        port = 0
    """)
    variables = {
        "MIX_BRIDGE_NAMESPACE": f"{namespace}-variable",
        "MIX_BRIDGE_EVENTS__TYPE_PREFIX": "variable.",
        "MIX_BRIDGE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:10",
    }
    arguments = ["--config", tmp_path / "bridge.toml", "--secrets-dir", tmp_path / "secrets"]
    options = ["--bootstrap-servers", kafka, "--set", f"namespace={namespace}", "--session", "a"]
    running = run(["run", *arguments, *options], variables, tmp_path)
    assert events_of(kafka, namespace, 3) == {"local/a"}
    assert terminated(running) == 0
    assert {understand(record).event for record in events(kafka, namespace)} == {"variable.content"}
    assert {each.headers["authorization"] for each in mix.asked} == {b"Bearer token-from-file"}
    assert texts(kafka, namespace, "b") == []


def test_other_variables_of_the_environment_are_ignored(
    kafka: str, mix: ScriptedMix, namespace: str, tmp_path: Path
) -> None:
    """Proxy variables and netrc have no effect."""
    (tmp_path / ".netrc").write_text("default login somebody password wrong\n")
    (tmp_path / ".netrc").chmod(0o600)
    variables = {"HOME": str(tmp_path), "http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}
    arguments = ["run", "--server", mix.url, "--bootstrap-servers", kafka, "--set", f"namespace={namespace}"]
    running = run([*arguments, "--set", "http.port=none"], variables, tmp_path)
    assert events_of(kafka, namespace, 9) == {"local/a", "local/b", "local/c"}
    assert terminated(running) == 0
    assert not any("authorization" in each.headers for each in mix.asked)


def test_the_command_was_installed_from_this_repository() -> None:
    """These tests run this code."""
    assert COMMAND.exists()
    shown = subprocess.run([COMMAND, "--version"], capture_output=True, text=True, check=True, cwd="/")
    assert shown.stdout.split()[1] in (REPOSITORY / "bridge" / "__init__.py").read_text()
