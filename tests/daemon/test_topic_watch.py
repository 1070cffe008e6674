"""What is said of topics that change under the running bridge, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from bridge.daemon.topic_watch import TopicWatch
from bridge.errors import SettingsError, Unreachable
from bridge.kafka.topic_changes import Kind, changes, trouble, warnings
from bridge.kafka.topic_description import TopicSeen
from bridge.kafka.topics import Found, TopicLimits, TopicPlan, needed_bytes, plan
from bridge.settings import Settings
from bridge.settings.loading import load

REQUIRED = {"kafka.bootstrap_servers": "localhost:9092", "servers.local.url": "http://localhost:8088"}
SETTINGS: Settings = load(REQUIRED, {})
PLANS = {each.key: each for each in plan(SETTINGS)}
EVENTS, CHECKPOINTS = PLANS["topics.events"], PLANS["topics.checkpoints"]
NEEDED = needed_bytes(SETTINGS)
LIMIT = 1_048_588


def seen(one: TopicPlan, **config: str) -> TopicSeen:
    """A topic as it was planned, with other settings."""
    policy = {"cleanup.policy": "compact" if one.compacted else "delete"}
    return TopicSeen("id-1", Found(one.partitions, {**policy, **config}))


class Cluster:
    """Topics in memory, and everybody who asks for them or is told of their changes."""

    def __init__(self) -> None:
        self.topics: dict[str, TopicSeen | None] = {each.name: seen(each) for each in PLANS.values()}
        self.created: list[str] = []
        self.refuses: Exception | None = None
        self.limits: list[int] = []
        self.written_again: list[int] = []

    def __call__(self, planned: Sequence[TopicPlan]) -> Mapping[str, TopicSeen | None]:
        """A look."""
        return {each.name: self.topics[each.name] for each in planned if each.name in self.topics}

    def create(self, missing: Sequence[TopicPlan]) -> None:
        """Create, or refuse to."""
        if self.refuses is not None:
            raise self.refuses
        self.created += [each.name for each in missing]
        self.topics |= {each.name: replace(seen(each), topic_id="id-2") for each in missing}

    def follow_limit(self, max_request_bytes: int) -> None:
        """The smallest limit changed."""
        self.limits.append(max_request_bytes)

    def write_positions_again(self, partitions: int) -> None:
        """The checkpoints topic is new."""
        self.written_again.append(partitions)

    def watched(self, settings: Settings = SETTINGS) -> TopicWatch:
        """A watch that has seen everything well."""
        watch = TopicWatch(settings, TopicLimits(8, LIMIT), self, self)
        watch.look()
        return watch


def levels(logs: Sequence[Mapping[str, object]]) -> list[str]:
    return [str(each["log_level"]) for each in logs]


def test_what_is_well_says_nothing() -> None:
    """Look after look."""
    watch = Cluster().watched()
    with capture_logs() as logs:
        watch.look()
    assert logs == []
    assert all(topic.trouble is None and not any(topic.changes.values()) for topic in watch.snapshot())


def test_trouble_is_what_two_looks_have_found_and_is_said_once() -> None:
    """An error with the topic, what is wrong and the way out; a word when it is over."""
    cluster = Cluster()
    watch = cluster.watched()
    cluster.topics[EVENTS.name] = seen(EVENTS, **{"cleanup.policy": "compact"})
    with capture_logs() as logs:
        watch.look()
        assert logs == []
        watch.look()
        watch.look()
    (line,) = logs
    assert line["log_level"] == "error"
    assert line["topic"] == EVENTS.name
    assert "set cleanup.policy=delete" in line["trouble"]
    (told,) = [topic for topic in watch.snapshot() if topic.trouble]
    assert told.name == EVENTS.name
    cluster.topics[EVENTS.name] = seen(EVENTS)
    with capture_logs() as logs:
        watch.look()
    assert levels(logs) == ["info"]
    assert all(topic.trouble is None for topic in watch.snapshot())


def test_a_topic_that_stays_away_is_created_again() -> None:
    """Not at the first look: somebody may be about to create it anew with settings of his own."""
    cluster = Cluster()
    watch = cluster.watched()
    cluster.topics[EVENTS.name] = None
    watch.look()
    assert cluster.created == []
    assert watch.snapshot()[1].partitions is None
    with capture_logs() as logs:
        watch.look()
        watch.look()
    assert cluster.created == [EVENTS.name]
    assert levels(logs) == ["error", "warning", "error", "info"]
    assert watch.snapshot()[1].changes[Kind.RECREATED] == 1


def test_a_topic_is_not_created_where_that_is_switched_off() -> None:
    """The trouble says what to create, and stays."""
    cluster = Cluster()
    watch = cluster.watched(load({**REQUIRED, "topics.create": False}, {}))
    cluster.topics[EVENTS.name] = None
    for _ in range(3):
        watch.look()
    assert cluster.created == []
    assert "create it with 8 partitions" in str(watch.snapshot()[1].trouble)


@pytest.mark.parametrize("refusal", [SettingsError.of("topics.events", "no"), Unreachable("no answer")])
def test_a_topic_that_cannot_be_created_is_tried_again(refusal: Exception) -> None:
    """At each look."""
    cluster = Cluster()
    watch = cluster.watched()
    cluster.topics[EVENTS.name], cluster.refuses = None, refusal
    watch.look()
    watch.look()
    cluster.refuses = None
    watch.look()
    assert cluster.created == [EVENTS.name]


def test_the_checkpoints_topic_created_anew_is_written_anew() -> None:
    """With the partitions it has now."""
    cluster = Cluster()
    watch = cluster.watched()
    cluster.topics[CHECKPOINTS.name] = TopicSeen("id-2", Found(3, {"cleanup.policy": "compact"}))
    with capture_logs() as logs:
        watch.look()
    assert cluster.written_again == [3]
    assert levels(logs) == ["error", "error", "warning"]  # created anew, with others than before and than planned
    assert "position of every running session is written again" in logs[0]["change"]


def test_the_smallest_limit_of_all_topics_is_followed() -> None:
    """Down and up again."""
    cluster = Cluster()
    watch = cluster.watched()
    cluster.topics[EVENTS.name] = seen(EVENTS, **{"max.message.bytes": "50000"})
    watch.look()
    watch.look()
    cluster.topics[EVENTS.name] = seen(EVENTS)
    watch.look()
    assert cluster.limits == [50_000, LIMIT]


def test_topics_that_may_not_be_seen_are_left_as_they_were_known() -> None:
    """No trouble is made up."""
    cluster = Cluster()
    watch = cluster.watched()
    cluster.topics.clear()
    with capture_logs() as logs:
        watch.look()
        watch.look()
    assert logs == []
    assert cluster.limits == []


def test_partitions_added_are_told_once_with_what_follows() -> None:
    """The order across the change is lost; nothing is hidden; what to do is: not do it."""
    before = seen(EVENTS)
    (change,) = changes(EVENTS, before, replace(before, found=replace(before.found, partitions=9)))
    assert change.kind is Kind.PARTITIONS
    assert "9 partitions, 8 before" in change.message
    assert "do not add partitions" in change.message


def test_a_broker_without_topic_ids_tells_no_recreation() -> None:
    """None is not another id."""
    one = seen(EVENTS)
    assert list(changes(EVENTS, replace(one, topic_id=None), one)) == []


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (None, "creates it again"),
        (replace(seen(EVENTS), without_leader=2), "no leader"),
        (replace(seen(EVENTS), short_of_replicas=1), "min.insync.replicas"),
        (seen(EVENTS, **{"cleanup.policy": "compact"}), "cleanup.policy"),
    ],
)
def test_trouble_names_the_topic_and_the_way_out(state: TopicSeen | None, words: str) -> None:
    """One sentence."""
    said = trouble(EVENTS, state, NEEDED, create=True)
    assert said is not None
    assert EVENTS.name in said
    assert words in said


def test_a_limit_of_age_below_a_day_is_a_warning() -> None:
    """What waits for a Kafka that is away would be refused."""
    (said,) = warnings(EVENTS, seen(EVENTS, **{"message.timestamp.before.max.ms": "60000"}), NEEDED)
    assert "60000" in said
    assert warnings(EVENTS, seen(EVENTS), NEEDED) == ()
