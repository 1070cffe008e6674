"""What the topics must be like: planned from the settings, examined as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bridge.errors import SettingsError
from bridge.kafka.topics import (
    CHECKPOINTS_CONFIG,
    Found,
    TopicPlan,
    Verdict,
    examine,
    ground,
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


def test_a_routed_topic_is_planned_once_whatever_else_names_it() -> None:
    """The first setting that names a topic is the one a mistake is reported under."""
    routes = [
        {"match": "a*", "topic": "mix.tools"},
        {"match": "b*", "topic": "mix.tools"},
        {"match": "c", "topic": "mix.events"},
    ]
    topics = planned(topics__routes=routes)
    assert topics["mix.tools"].key == "topics.routes[0].topic"
    assert topics["mix.events"].key == "topics.events"
    assert len(topics) == 5


def test_the_settings_of_topics_are_for_all_but_the_checkpoints() -> None:
    """Retention would delete positions; a lifecycle record is worth keeping as long as the events it speaks of."""
    topics = planned(topics__config={"retention.ms": "1"})
    assert {name for name, each in topics.items() if "retention.ms" in each.config} == set(topics) - {"mix.checkpoints"}


def test_topics_are_made_large_enough_for_the_largest_event() -> None:
    """All of them, since the smallest limit holds for all; unless the settings say their own limit."""
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
        ("mix.checkpoints", COMPACT | {"max.message.bytes": "900000"}, False, True),
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
def test_a_topic_that_exists_is_examined(
    name: str, config: dict[str, str] | None, *, mistaken: bool, warned: bool
) -> None:
    """Exactly compact for checkpoints, never compacted for events, large enough; what may not be seen is a warning."""
    topic = planned()[name]
    verdict = examine(topic, Found(topic.partitions, config), needed_bytes(settings_with()))
    assert bool(verdict.mistakes) is mistaken
    assert bool(verdict.warnings) is warned
    for said in (*verdict.mistakes, *verdict.warnings):
        assert said.key == topic.key
        assert name in said.message
        assert "\n" not in str(said)


def test_the_ground_is_below_every_topics_limit() -> None:
    """Batches stay below the smallest limit, and there is a shard for each partition that is really there."""
    settings = settings_with()
    found = {
        "mix.events": Found(8, PLAIN | {"max.message.bytes": "950000"}),
        "mix.dead-letters": Found(8, None),
        "mix.lifecycle": Found(8, PLAIN | {"max.message.bytes": "940000"}),
        "mix.checkpoints": Found(6, COMPACT | {"max.message.bytes": "2000000"}),
    }
    firm = ground(settings, plan(settings), found)
    assert (firm.checkpoint_partitions, firm.max_request_bytes) == (6, 940_000)
    assert sorted(warning.key for warning in firm.warnings) == ["topics.checkpoints", "topics.dead_letters"]


def test_another_number_of_shards_than_was_asked_for_is_refused() -> None:
    """With the way out. By default nobody asked for one: the topic counts, and this is said."""
    needed = needed_bytes(settings_with())
    asked, default = planned(topics__shards=8)["mix.checkpoints"], planned()["mix.checkpoints"]
    assert examine(asked, Found(8, COMPACT), needed) == Verdict()
    for config in (COMPACT, None):
        (mistake,) = examine(asked, Found(4, config), needed).mistakes
        assert "has 4 partitions, and topics.shards is 8" in mistake.message
        assert "; set topics.shards = 4, or move the positions: " in mistake.message
        assert "checkpoints export" in mistake.message
        assert "checkpoints import" in mistake.message
        verdict = examine(default, Found(1, config), needed)
        assert not verdict.mistakes
        assert "has 1 partition, and topics.shards is 8 by default" in verdict.warnings[-1].message


def test_all_mistakes_are_told_at_once() -> None:
    """Two wrong topics: one start shows both."""
    settings = settings_with()
    found = dict.fromkeys(("mix.events", "mix.lifecycle"), Found(8, COMPACT))
    found |= dict.fromkeys(("mix.dead-letters", "mix.checkpoints"), Found(8, PLAIN))
    with pytest.raises(SettingsError) as caught:
        ground(settings, plan(settings), found)
    assert {mistake.key for mistake in caught.value.mistakes} == {
        "topics.events",
        "topics.lifecycle",
        "topics.checkpoints",
    }
