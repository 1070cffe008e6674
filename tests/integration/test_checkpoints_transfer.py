"""Moving positions to a topic with other partitions, with the commands of docs/checkpoints.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

from bridge.core.identity import partition_of
from bridge.core.owner_records import FORGOTTEN_KEY, encode_forgotten
from tests.support.checkpoint_values import COMPACTED
from tests.support.process import Bridge, command, shell
from tests.support.repository import REPOSITORY
from tests.support.scene import (
    accepted,
    bridged,
    events,
    settings,
    texts,
    wait_accepted,
    wait_acknowledged,
    write,
)
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.topics import create_topic, partitions_of

FORGOTTEN = 3_000_000_000
NAMES = ("a", "b", "c", "d", "e")


def documented(namespace: str) -> list[str]:
    """The code blocks of the section about shards, with the topic of the test."""
    text = (REPOSITORY / "docs" / "checkpoints.md").read_text()
    section = text.partition("\n## Changing the number of shards\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```[a-z]+\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    return [block.replace("mix.checkpoints", f"{namespace}.checkpoints") for block in blocks]


def test_the_number_of_shards_can_be_changed_as_documented(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Every session resumes at its position: nothing is missing or repeated. A forgotten one starts above its epoch."""
    export, toml, import_and_check = documented(namespace)
    feeds = {name: Feed(5) for name in NAMES}
    file = tmp_path / "positions.jsonl"
    with scripted_mix() as mix:
        mix.list(*NAMES)
        mix.streams = dict(feeds)
        before = settings(kafka, namespace, mix.url)
        with bridged(tmp_path, before) as bridge:
            for name in NAMES:
                wait_acknowledged(bridge, name, 5)
        write(kafka, f"{namespace}.checkpoints", FORGOTTEN_KEY, encode_forgotten(FORGOTTEN, 0))
        done = shell(f"cd {tmp_path} && {export}", before, tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"5 positions of {namespace}.checkpoints" in done.stderr

        config = tmp_path / "bridge.toml"
        config.write_text(toml)
        after = {key: value for key, value in before.items() if key != "topics.shards"} | {"config": config}
        refused = Bridge(tmp_path / "refused", before | {"topics.shards": 16}).start(wait=False)
        assert refused.wait() == 78
        assert "has 2 partitions, and topics.shards is 16: the number is fixed" in refused.log_text()
        assert "mix-bridge checkpoints export" in refused.log_text()

        done = shell(f"set -e; cd {tmp_path}; {import_and_check}", after, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "5 positions written" in done.stdout
        for feed in feeds.values():
            feed.add(3)
        mix.list(*NAMES, "back")
        mix.streams["back"] = Feed(1)
        with bridged(tmp_path, after) as bridge:
            for name in NAMES:
                wait_accepted(kafka, namespace, name, 8)
            wait_accepted(kafka, namespace, "back", 1)
    assert [one.epoch for one in accepted(kafka, namespace, "back")] == [FORGOTTEN + 1], "it was forgotten before"
    for name in NAMES:
        assert texts(kafka, namespace, name) == [str(number) for number in range(1, 9)], "missing, or twice"
    verified = command(["verify", "--json"], after)
    assert verified.returncode == 0, verified.stdout
    written = events(kafka, namespace, "checkpoints-16")
    assert len(partitions_of(kafka, f"{namespace}.checkpoints-16")) == 16
    keys = {record.key for record in written if record.key is not None and not record.key.startswith(b"#")}
    assert keys == {f"local/{name}".encode() for name in (*NAMES, "back")}
    for record in written:
        assert record.key is not None
        assert record.key.startswith(b"#") or record.partition == partition_of(record.key, 16)

    done = command(["checkpoints", "import", str(file)], after)
    assert done.returncode == 1
    assert f"5 sessions continued in {namespace}.checkpoints-16 after the export" in done.stderr
    assert len(events(kafka, namespace, "checkpoints-16")) == len(written)


def test_an_import_can_be_repeated_and_an_invalid_file_is_refused(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Also as one JSON document. Nothing is written twice, or from an invalid file or another namespace."""
    topic = f"{namespace}.checkpoints"
    create_topic(kafka, topic, 1, COMPACTED)
    chosen = settings(kafka, namespace, "http://127.0.0.1:9", {"topics.shards": 1})
    file = tmp_path / "positions.json"
    header = {"format": "mix-bridge checkpoints", "version": 1, "namespace": namespace, "topic": "old"}
    header |= {"partitions": 9, "exported_at": "2026-01-01T00:00:00Z", "count": 1}
    position = {"version": 1, "server": "local", "session": "a", "last_event_id": "2", "epoch": 1_700_000_000}
    position |= {"sequence": 2, "state": "ended", "updated_at": "2026-01-01T00:00:00Z"}
    file.write_text(json.dumps(header | {"checkpoints": [position]}, indent=1))
    for already in (0, 1):
        done = command(["checkpoints", "import", str(file), "--json"], chosen)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert (said["imported"], said["already_there"], said["partitions"]) == (1 - already, already, 1)
    (written,) = events(kafka, namespace, "checkpoints")
    exported = json.loads(command(["checkpoints", "export", "--json"], chosen).stdout)
    assert exported["count"] == 1
    assert exported["checkpoints"] == [json.loads(written.value or b"")]
    assert exported["checkpoints"][0]["state"] == "ended"

    file.write_text(json.dumps(header | {"namespace": "theirs", "checkpoints": [position]}))
    done = command(["checkpoints", "import", str(file)], chosen)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the positions are of namespace theirs" in done.stderr
    file.write_text(json.dumps(header) + "\nnonsense\n")
    done = command(["checkpoints", "import", str(file)], chosen)
    assert (done.returncode, done.stdout) == (1, "")
    assert "line 2: it is not a JSON object" in done.stderr
    assert len(events(kafka, namespace, "checkpoints")) == 1
