"""Which topics the settings need, and what is wrong with existing ones."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.errors import SettingsError, Unreachable
from bridge.kafka.topic_admin import prepare
from bridge.kafka.topics import (
    CHECKPOINTS_CONFIG,
    Problems,
    TopicDescription,
    TopicPlan,
    examine,
    limits_of,
    needed_bytes,
    plan,
)
from bridge.settings.loading import load

COMPACT = {"cleanup.policy": "compact"}
PLAIN = {"cleanup.policy": "delete", "max.message.bytes": "1048588"}


def planned(**overrides: Any) -> dict[str, TopicPlan]:
    """The plan for settings with these keys (``__`` for a dot), by topic name."""
    required = {"kafka.bootstrap_servers": "localhost:9092", "servers.local.url": "http://localhost:8088"}
    settings = load(required | {key.replace("__", "."): value for key, value in overrides.items()}, {})
    return {each.name: each for each in plan(settings)}


def settings_with(**overrides: Any) -> Any:
    required = {"kafka.bootstrap_servers": "localhost:9092", "servers.local.url": "http://localhost:8088"}
    return load(required | {key.replace("__", "."): value for key, value in overrides.items()}, {})


def test_the_default_topics_are_planned_with_their_settings() -> None:
    """Checkpoints compacted, in as many partitions as there are shards; the others as Kafka makes them."""
    topics = planned(topics__partitions=3, topics__shards=5, topics__replication_factor=2)
    assert list(topics) == ["mix.checkpoints", "mix.events", "mix.dead-letters", "mix.lifecycle"]
    checkpoints, events = topics["mix.checkpoints"], topics["mix.events"]
    assert (checkpoints.partitions, checkpoints.config, checkpoints.compacted) == (5, CHECKPOINTS_CONFIG, True)
    assert (events.partitions, events.config, events.compacted) == (3, {}, False)
    assert replace(topics["mix.lifecycle"], key=events.key, name=events.name) == events
    assert {each.replication_factor for each in topics.values()} == {2}


def test_a_topic_with_several_routes_is_planned_once() -> None:
    """Mistakes are reported under the first setting that names the topic."""
    routes = [
        {"match": "a*", "topic": "mix.tools"},
        {"match": "b*", "topic": "mix.tools"},
        {"match": "c", "topic": "mix.events"},
    ]
    topics = planned(topics__routes=routes)
    assert topics["mix.tools"].key == "topics.routes[0].topic"
    assert topics["mix.events"].key == "topics.events"
    assert len(topics) == 5


def test_topic_settings_apply_to_all_topics_but_the_checkpoints() -> None:
    """Retention would delete positions; lifecycle records are kept as long as the events they describe."""
    topics = planned(topics__config={"retention.ms": "1"})
    assert {name for name, each in topics.items() if "retention.ms" in each.config} == set(topics) - {"mix.checkpoints"}


def test_topics_are_created_large_enough_for_the_largest_event() -> None:
    """All of them, because the smallest limit applies to all; unless the settings give a limit."""
    for topic in planned(events__max_bytes="4MiB").values():
        assert int(topic.config["max.message.bytes"]) > 4 * 1024 * 1024
    own = planned(events__max_bytes="4MiB", topics__config={"max.message.bytes": "5000000"})
    assert own["mix.events"].config["max.message.bytes"] == "5000000"


@pytest.mark.parametrize(
    ("name", "config", "mistaken", "warned"),
    [
        ("mix.checkpoints", COMPACT, False, False),
        ("mix.checkpoints", {"cleanup.policy": "delete"}, True, False),
        ("mix.checkpoints", {"cleanup.policy": "compact,delete"}, True, False),
        ("mix.checkpoints", {"cleanup.policy": ""}, True, False),
        ("mix.checkpoints", {}, True, False),
        ("mix.checkpoints", None, False, True),
        ("mix.checkpoints", COMPACT | {"max.message.bytes": "900000"}, False, False),
        ("mix.events", PLAIN, False, False),
        ("mix.events", {}, False, False),
        ("mix.events", COMPACT, True, False),
        ("mix.events", {"cleanup.policy": "delete, compact"}, True, False),
        ("mix.events", PLAIN | {"max.message.bytes": "1000"}, False, True),
        ("mix.dead-letters", COMPACT, True, False),
        ("mix.events", None, False, True),
        ("mix.lifecycle", PLAIN, False, False),
        ("mix.lifecycle", {}, False, False),
        ("mix.lifecycle", None, False, True),
        ("mix.lifecycle", COMPACT, True, False),
        ("mix.lifecycle", {"cleanup.policy": "delete,compact"}, True, False),
        ("mix.lifecycle", PLAIN | {"max.message.bytes": "16384"}, False, True),
        ("mix.lifecycle", PLAIN | {"max.message.bytes": "16383"}, True, False),
    ],
)
def test_an_existing_topic_is_examined(
    name: str, config: dict[str, str] | None, *, mistaken: bool, warned: bool
) -> None:
    """Exactly compact for checkpoints, never compacted for events, large enough; hidden settings are a warning."""
    topic = planned()[name]
    problems = examine(topic, TopicDescription(topic.partitions, config), needed_bytes(settings_with()))
    assert bool(problems.mistakes) is mistaken
    assert bool(problems.warnings) is warned
    for each in (*problems.mistakes, *problems.warnings):
        assert each.key == topic.key
        assert name in each.message
        assert "\n" not in str(each)


def test_each_topic_has_its_own_limit_and_batches_the_smallest() -> None:
    """Batches stay below it, and there is a shard for each partition that exists."""
    settings = settings_with()
    found = {
        "mix.events": TopicDescription(8, PLAIN | {"max.message.bytes": "950000"}),
        "mix.dead-letters": TopicDescription(8, None),
        "mix.lifecycle": TopicDescription(8, PLAIN | {"max.message.bytes": "940000"}),
        "mix.checkpoints": TopicDescription(6, COMPACT | {"max.message.bytes": "2000000"}),
    }
    limits = limits_of(settings, plan(settings), found)
    assert (limits.checkpoint_partitions, limits.sizes.batch_size, limits.sizes.largest) == (6, 940_000, 2_000_000)
    assert sorted(warning.key for warning in limits.warnings) == ["topics.checkpoints", "topics.dead_letters"]


def test_another_number_of_shards_than_the_settings_give_is_refused() -> None:
    """With the fix. With the default number the bridge uses that of the topic, and warns."""
    needed = needed_bytes(settings_with())
    given, default = planned(topics__shards=8)["mix.checkpoints"], planned()["mix.checkpoints"]
    assert examine(given, TopicDescription(8, COMPACT), needed) == Problems()
    for config in (COMPACT, None):
        (mistake,) = examine(given, TopicDescription(4, config), needed).mistakes
        assert "has 4 partitions, and topics.shards is 8" in mistake.message
        assert "; set topics.shards = 4, or move the positions: " in mistake.message
        assert "checkpoints export" in mistake.message
        assert "checkpoints import" in mistake.message
        problems = examine(default, TopicDescription(1, config), needed)
        assert not problems.mistakes
        assert "has 1 partition, and topics.shards is 8 by default" in problems.warnings[-1].message


def test_all_mistakes_are_reported_together() -> None:
    """Wrong topics: one start reports them all."""
    settings = settings_with()
    found = dict.fromkeys(("mix.events", "mix.lifecycle"), TopicDescription(8, COMPACT))
    found |= dict.fromkeys(("mix.dead-letters", "mix.checkpoints"), TopicDescription(8, PLAIN))
    with pytest.raises(SettingsError) as caught:
        limits_of(settings, plan(settings), found)
    assert {mistake.key for mistake in caught.value.mistakes} == {
        "topics.events",
        "topics.lifecycle",
        "topics.checkpoints",
    }


def test_lost_positions_are_reported_although_the_topic_is_not_visible_yet() -> None:
    """The next attempt finds the topic, and could not know that it is a new one."""
    settings = settings_with()
    described = {each.name: None if each.compacted else TopicDescription(8, PLAIN) for each in plan(settings)}
    admin: Any = SimpleNamespace(
        describe=lambda _planned: described, existing=lambda _planned: {}, create=lambda _missing: None
    )
    with capture_logs() as logs, pytest.raises(Unreachable, match="not yet visible"):
        prepare(settings, admin)
    (line,) = logs
    assert (line["event"], line["setting"], line["log_level"]) == ("topic", "topics.checkpoints", "warning")
    assert "all positions are lost" in line["warning"]
