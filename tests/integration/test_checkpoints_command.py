"""``mix-bridge checkpoints`` on a real Kafka, and the daemon that resumes from the changed positions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bridge.cli.app import app
from bridge.core.identity import partition_of
from tests.support.checkpoint_values import COMPACTED, encoded
from tests.support.process import Bridge, command, shell
from tests.support.scene import (
    accepted,
    bridged,
    checkpoints,
    last_checkpoint,
    settings,
    texts,
    wait_acknowledged,
    wait_checkpoint,
    wait_logged,
    write,
)
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.topics import create_topic

PARTITIONS = 4
URL = "http://127.0.0.1:9"
COMMAND = re.compile(r": (mix-bridge checkpoints .+)$")


def document(chosen: dict[str, object], *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run a command with ``--json``."""
    done = command(["checkpoints", *arguments, "--json"], chosen)
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def put(kafka: str, topic: str, key: bytes, value: bytes, partition: int | None = None) -> None:
    """Write a record to the partition of its key, or to another one."""
    write(kafka, topic, key, value, partition_of(key, PARTITIONS) if partition is None else partition)


def test_a_session_resumes_where_it_was_set_to(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Each change starts a new epoch above the last, so a consumer misses nothing."""
    with scripted_mix({"a": Feed(5)}) as mix:
        chosen = settings(kafka, namespace, mix.url)
        with bridged(tmp_path, chosen) as bridge:
            wait_acknowledged(bridge, "a", 5)
            wait_checkpoint(kafka, namespace, "a", lambda one: one["sequence"] == 5)
        (one,) = document(chosen, "list")["checkpoints"]
        assert (one["server"], one["session"], one["state"], one["sequence"], one["last_event_id"]) == (
            "local", "a", "active", 5, "5",
        )  # fmt: skip
        shown = document(chosen, "show", "local/a")
        assert shown["records"][0]["members"] == last_checkpoint(kafka, namespace, "a")
        done = command(["checkpoints", "set", "local/a", "--last-event-id", "3"], chosen)
        assert done.returncode == 0
        assert "acknowledged" in done.stdout
        assert not done.stderr
        first = last_checkpoint(kafka, namespace, "a")
        assert (first["last_event_id"], first["sequence"], first["state"]) == ("3", 0, "active")
        assert first["epoch"] > one["epoch"]
        with bridged(tmp_path, chosen) as bridge:
            wait_acknowledged(bridge, "a", 2)
        (change,) = document(chosen, "reset", "local/a")["changed"]
        assert (change["after"]["last_event_id"], change["after"]["sequence"]) == ("0", 0)
        with bridged(tmp_path, chosen) as bridge:
            wait_acknowledged(bridge, "a", 5)
    got = accepted(kafka, namespace, "a")
    assert texts(kafka, namespace, "a") == ["1", "2", "3", "4", "5", "4", "5", "1", "2", "3", "4", "5"]
    assert got[-1].epoch >= change["after"]["epoch"] > first["epoch"]


BAD = {
    b"local/newer one": encoded("newer one", version=2, epoch=1_900_000_000),
    b"local/it's $HOME `x`": b"\x00garbage",
    b"local/differs": encoded("another", epoch=1_800_000_000),
    "local/\u202e\x1b".encode(): b"",
    b"no slash": encoded("a"),
}


def test_the_command_of_the_error_message_repairs_a_checkpoint(kafka: str, namespace: str, tmp_path: Path) -> None:
    """It can be pasted into a shell. Then the daemon starts, and known epochs are kept."""
    topic = f"{namespace}.checkpoints"
    create_topic(kafka, topic, PARTITIONS, COMPACTED)
    for key, value in BAD.items():
        put(kafka, topic, key, value)
    moved = partition_of(b"local/moved", PARTITIONS)
    put(kafka, topic, b"local/moved", encoded("moved", epoch=1_850_000_000), (moved + 1) % PARTITIONS)
    put(kafka, topic, b"gone/x", encoded("x", server="gone", state="ended"), PARTITIONS - 1)
    with scripted_mix({"moved": Feed(4), "newer one": Feed(2)}) as mix:
        chosen = settings(kafka, namespace, mix.url, {"topics.shards": PARTITIONS})
        bridge = Bridge(tmp_path / "bridge", chosen)
        assert bridge.start(wait=False).wait() == 78
        found = (COMMAND.search(line) for line in bridge.log_text().splitlines())
        commands = [match[1] for match in found if match is not None]
        assert len(commands) == len(BAD) + 1 + (partition_of(b"gone/x", PARTITIONS) != PARTITIONS - 1)
        for text in dict.fromkeys(commands):
            done = shell(text, chosen, tmp_path)
            assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        listed = document(chosen, "list")
        assert not listed["bad"]
        epochs = {one["session"]: one["epoch"] for one in listed["checkpoints"]}
        assert epochs["differs"] > 1_800_000_000
        assert epochs["moved"] > 1_850_000_000
        assert epochs["newer one"] > 1_900_000_000
        assert [one["state"] for one in listed["checkpoints"] if one["session"] == "x"] == ["ended"]
        with bridge.start():
            wait_acknowledged(bridge, "moved", 2)
            wait_acknowledged(bridge, "newer one", 2)
            assert bridge.terminate() == 0
    assert texts(kafka, namespace, "moved") == ["3", "4"]
    assert accepted(kafka, namespace, "moved")[0].epoch >= epochs["moved"]
    assert accepted(kafka, namespace, "newer one")[0].epoch >= epochs["newer one"]


def test_one_command_moves_all_checkpoints_after_partitions_were_added(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """Every session keeps its position."""
    topic = f"{namespace}.checkpoints"
    create_topic(kafka, topic, PARTITIONS, COMPACTED)
    for number in range(40):  # as a topic of one partition had them
        put(kafka, topic, f"local/s{number}".encode(), encoded(f"s{number}"), 0)
    chosen = settings(kafka, namespace, URL, {"topics.shards": PARTITIONS})
    bridge = Bridge(tmp_path / "bridge", chosen)
    assert bridge.start(wait=False).wait() == 78
    assert len(re.findall("set --misplaced$", bridge.log_text(), re.MULTILINE)) == 20
    assert "list --state bad" in bridge.log_text()
    changed = document(chosen, "set", "--misplaced")["changed"]
    assert {one["after"]["last_event_id"] for one in changed} == {"2"}
    assert not document(chosen, "list", "--state", "bad")["bad"]
    assert document(chosen, "list")["count"] == 40
    with bridge.start():
        wait_logged(bridge, "started")
        assert bridge.terminate() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["set", "local/a", "--last-event-id", "a\nb"], "cannot carry it"),
        (["set", "local/a", "--last-event-id", " x"], "cannot carry it"),
        (["set", "local/a", "--last-event-id", "x" * 9000], "cannot carry it"),
        (["set", "local/a"], "allowed: "),
        (["set", "--misplaced", "local/a"], "allowed: "),
        (["set", "a", "--last-event-id", "1"], "is not SERVER/SESSION"),
        (["reset"], "allowed: "),
        (["reset", "local/a", "--forget", "--partition", "1"], "allowed: "),
        (["reset", "--key-hex", "xyz"], "pairs of hex digits"),
        (["--session", "x", "show", "local/a"], "cannot be used with this command"),
    ],
)
def test_a_wrong_use_is_refused_before_settings_are_read(arguments: list[str], message: str) -> None:
    """With exit code 2."""
    words = (
        ["checkpoints", *arguments] if arguments[0] != "--session" else [*arguments[:2], "checkpoints", *arguments[2:]]
    )
    result = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_missing_record_changes_nothing_and_a_forgotten_epoch_is_reported(kafka: str, namespace: str) -> None:
    """The record in a session's own partition is not removed by --partition."""
    topic = f"{namespace}.checkpoints"
    create_topic(kafka, topic, PARTITIONS, COMPACTED)
    put(kafka, topic, b"local/a", encoded("a"))
    chosen = settings(kafka, namespace, URL)
    home = str(partition_of(b"local/a", PARTITIONS))
    for arguments, code in {
        ("reset", "local/none"): 1,
        ("set", "locale/a", "--last-event-id", "1"): 1,  # of a server that nobody knows: a typing error
        ("reset", "local/a", "--partition", home): 2,
        ("show", "local/none"): 1,
    }.items():
        done = command(["checkpoints", *arguments], chosen)
        assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
        assert done.stderr
    assert {key: len(found) for key, found in checkpoints(kafka, namespace).items()} == {"local/a": 1}
    done = command(["checkpoints", "reset", "local/a", "--forget"], chosen)
    assert "its epoch 1700000000 is forgotten too" in done.stdout
    assert checkpoints(kafka, namespace)["local/a"][-1] == {}


def test_a_foreign_record_is_shown_safely(kafka: str, namespace: str) -> None:
    """For any key and value."""
    key = "no\u2028slash"
    topic = f"{namespace}.checkpoints"
    create_topic(kafka, topic, PARTITIONS, COMPACTED)
    put(kafka, topic, key.encode(), b"\x1b[2J\xff\xe2\x80\xae")
    done = command(["checkpoints", "show", key], settings(kafka, namespace, URL))
    assert "\\x1b[2J\\xff\\u202e" in done.stdout
    assert done.stdout.replace("\n", "").isprintable()
