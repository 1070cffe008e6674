"""``mix-bridge topics`` as a process, on a real Kafka."""

from __future__ import annotations

import json

import pytest

from tests.support.broker import quiet_admin
from tests.support.process import command
from tests.support.topics import create_topic, partitions_of
from tests.support.waiting import TIMEOUT


@pytest.fixture
def settings(kafka: str, namespace: str) -> dict[str, object]:
    """Return settings without servers: the command needs none."""
    return {"namespace": namespace, "kafka.bootstrap_servers": kafka, "topics.partitions": 2, "topics.create": False}


def names(namespace: str) -> list[str]:
    """Return the topics of a namespace, in the order of the output."""
    return [f"{namespace}.{name}" for name in ("checkpoints", "events", "dead-letters", "lifecycle")]


def test_topics_are_planned_then_created(kafka: str, namespace: str, settings: dict[str, object]) -> None:
    """A plan creates nothing; a second `apply` changes nothing; an existing topic keeps its partitions."""
    create_topic(kafka, f"{namespace}.events", 1)
    found = []
    for action in ("plan", "apply", "apply"):
        done = command(["topics", action, "--json"], settings)
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        assert (document["ok"], [row["topic"] for row in document["topics"]]) == (True, names(namespace))
        found.append([row["state"] for row in document["topics"]])
        if action == "plan":
            assert not partitions_of(kafka, f"{namespace}.lifecycle")
    new = ["missing", "exists", "missing", "missing"]
    assert found == [new, [state.replace("missing", "created") for state in new], ["exists"] * 4]
    assert [len(partitions_of(kafka, name)) for name in names(namespace)] == [8, 1, 2, 2]


def test_nothing_is_created_beside_a_topic_that_does_not_fit(
    kafka: str, namespace: str, settings: dict[str, object]
) -> None:
    """Exit code 1, with the fix; the topic stays as it is."""
    create_topic(kafka, f"{namespace}.checkpoints", 2, {"cleanup.policy": "delete"})
    done = command(["topics", "apply"], settings)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith(f"failed  {namespace}.checkpoints: ")
    assert "set cleanup.policy=compact on it" in done.stdout.splitlines()[0]
    existing = quiet_admin(kafka).list_topics(timeout=TIMEOUT).topics
    assert [name for name in names(namespace) if name in existing] == [f"{namespace}.checkpoints"]


@pytest.mark.parametrize(
    ("options", "more", "code"),
    [
        (["plan"], {"kafka.bootstrap_servers": "127.0.0.1:9"}, 69),
        (["apply"], {"topics.partitions": "x"}, 78),
        (["plan", "--principal", "User:x"], {}, 2),
        (["plan"], {"topics.replication_factor": 9}, 1),
    ],
)
def test_exit_codes(settings: dict[str, object], options: list[str], more: dict[str, object], code: int) -> None:
    """As in the reference."""
    assert command(["topics", *options], settings | more).returncode == code
