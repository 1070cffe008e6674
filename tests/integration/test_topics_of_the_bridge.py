"""The topics: created as documented, checked but never altered, refused with 78 where they would lose records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from confluent_kafka.admin import ConfigResource, ResourceType

from tests.support.broker import quiet_admin
from tests.support.process import Bridge
from tests.support.scene import bridged, settings, wait_acknowledged, wait_logged
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.topics import create_topic, partitions_of
from tests.support.waiting import TIMEOUT

NOWHERE = "http://127.0.0.1:9"


def config_of(kafka: str, topic: str) -> dict[str, str]:
    """Return the settings of a topic, without defaults."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = quiet_admin(kafka)  # a variable: a client without references cancels its requests
    (answer,) = admin.describe_configs([resource], request_timeout=TIMEOUT).values()
    # 1: set on the topic itself (DYNAMIC_TOPIC_CONFIG)
    return {name: str(entry.value) for name, entry in answer.result(TIMEOUT).items() if entry.source == 1}


def refused(folder: Path, chosen: Mapping[str, object]) -> str:
    """Return the error lines of a start that ends with 78."""
    bridge = Bridge(folder / "bridge", chosen).start(wait=False)
    assert bridge.wait() == 78, bridge.log_text()
    assert "Traceback" not in bridge.log_text()
    return "\n".join(line for line in bridge.log_text().splitlines() if not line.startswith("{"))


def test_missing_topics_are_created_as_documented(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Partitions, shards, settings; only the checkpoints topic is compacted, with a lag of ten minutes."""
    more = {
        "topics.partitions": 5,
        "topics.shards": 3,
        "topics.config.retention.ms": "3600000",
        "topics.routes": [{"match": "tool_*", "topic": f"{namespace}.tools"}],
    }
    chosen = settings(kafka, namespace, NOWHERE, {key: more[key] for key in more if "retention" not in key})
    arguments = ("--set", "topics.config.retention.ms=3600000")
    with Bridge(tmp_path / "bridge", chosen | {"start_timeout": 0}).start(*arguments) as bridge:
        wait_logged(bridge, "started")
        assert bridge.terminate() == 0
    plain = ("events", "dead-letters", "lifecycle", "tools")
    assert {name: len(partitions_of(kafka, f"{namespace}.{name}")) for name in plain} == dict.fromkeys(plain, 5)
    assert len(partitions_of(kafka, f"{namespace}.checkpoints")) == 3
    checkpoints = config_of(kafka, f"{namespace}.checkpoints")
    assert checkpoints["cleanup.policy"] == "compact"
    assert int(checkpoints["min.compaction.lag.ms"]) >= 600_000
    assert "retention.ms" not in checkpoints
    for name in plain:
        assert config_of(kafka, f"{namespace}.{name}") == {"retention.ms": "3600000"}


def test_existing_topics_are_used_and_never_altered(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Other partition counts and settings than the defaults stay, at a second start too."""
    own = {
        "events": (1, {"retention.ms": "60000"}),
        "dead-letters": (2, {}),
        "lifecycle": (1, {"retention.ms": "70000"}),
        "checkpoints": (4, {"cleanup.policy": "compact"}),
    }
    for name, (partitions, config) in own.items():
        create_topic(kafka, f"{namespace}.{name}", partitions, config)
    with scripted_mix({"a": Feed(2)}) as mix:
        for create in (False, True):
            more = {"topics.create": create, "topics.shards": 4}
            with bridged(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
                wait_acknowledged(bridge, "a", 2)
    for name, (partitions, config) in own.items():
        assert len(partitions_of(kafka, f"{namespace}.{name}")) == partitions
        assert config_of(kafka, f"{namespace}.{name}") == config


@pytest.mark.parametrize(
    "case",
    [
        ("checkpoints", "delete", "topics.checkpoints"),
        ("checkpoints", "compact,delete", "topics.checkpoints"),
        ("events", "compact", "topics.events"),
        ("dead-letters", "compact,delete", "topics.dead_letters"),
        ("lifecycle", "compact", "topics.lifecycle"),
        ("tools", "compact", "topics.routes[0].topic"),
    ],
    ids=lambda case: f"{case[0]} {case[1]}",
)
def test_a_topic_that_would_lose_records_is_refused(
    kafka: str, namespace: str, tmp_path: Path, case: tuple[str, str, str]
) -> None:
    """78, with the key, the topic and its setting; it is not altered."""
    topic, policy, key = case
    name = f"{namespace}.{topic}"
    create_topic(kafka, name, 1, {"cleanup.policy": policy})
    routes = [{"match": "tool_*", "topic": f"{namespace}.tools"}]
    text = refused(tmp_path, settings(kafka, namespace, NOWHERE, {"topics.routes": routes}))
    (line,) = text.splitlines()
    assert line.startswith(f"{key}: ")
    assert name in line
    assert "cleanup.policy=" in line
    assert config_of(kafka, name)["cleanup.policy"] == policy


def test_missing_topics_end_a_start_that_may_not_create(kafka: str, namespace: str, tmp_path: Path) -> None:
    """78, one line for each missing topic; none is created."""
    create_topic(kafka, f"{namespace}.events", 1)
    text = refused(tmp_path, settings(kafka, namespace, NOWHERE, {"topics.create": False}))
    missing = sorted(line.partition(":")[0] for line in text.splitlines())
    assert missing == ["topics.checkpoints", "topics.dead_letters", "topics.lifecycle"]
    assert "topics.create" in text
    assert partitions_of(kafka, f"{namespace}.checkpoints") == []


def test_a_topic_that_kafka_refuses_to_create_is_a_mistake(kafka: str, namespace: str, tmp_path: Path) -> None:
    """With an unknown topic setting."""
    chosen = settings(kafka, namespace, NOWHERE)
    bridge = Bridge(tmp_path / "bridge", chosen).start("--set", "topics.config.no.such.setting=1", wait=False)
    assert bridge.wait() == 78
    assert "no.such.setting" in bridge.log_text()
