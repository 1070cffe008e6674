"""What the watch reports about topics that change while the bridge runs, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import pytest
from structlog.testing import capture_logs

from bridge.clock import monotonic
from bridge.core.records.topics import PartitionCounts, SizeLimits
from bridge.daemon.topics import Followers, TopicWatch
from bridge.errors import SettingsError, Unreachable
from bridge.kafka.topic_admin import TopicAdmin
from bridge.kafka.topic_changes import ChangeKind, changes, problem, warnings
from bridge.kafka.topics import TopicDescription, TopicLimits, TopicPlan, needed_bytes, plan
from bridge.settings import Settings
from bridge.settings.loading import load
from tests.support.waiting import TIMEOUT, let_pass, wait_until

REQUIRED = {"kafka.bootstrap_servers": "localhost:9092", "servers.local.url": "http://localhost:8088"}
SETTINGS: Settings = load(REQUIRED, {})
PLANS = {each.key: each for each in plan(SETTINGS)}
EVENTS, CHECKPOINTS = PLANS["topics.events"], PLANS["topics.checkpoints"]
NEEDED = needed_bytes(SETTINGS)
LIMIT = 1_048_588


def described(one: TopicPlan, **config: str) -> TopicDescription:
    """A topic as it was planned, with other settings."""
    policy = {"cleanup.policy": "compact" if one.compacted else "delete"}
    return TopicDescription(one.partitions, {**policy, **config}, "id-1")


class Cluster:
    """Topics in memory, and the follower of their changes."""

    def __init__(self) -> None:
        self.topics: dict[str, TopicDescription | None] = {each.name: described(each) for each in PLANS.values()}
        self.created: list[str] = []
        self.refuses: Exception | None = None
        self.changes: list[str] = []
        self.written_again: list[int] = []
        self.id: str | None = "cluster-1"
        self.exchanged: list[str] = []

    def cluster_id(self) -> str | None:
        """Return the cluster's id."""
        return self.id

    def describe(self, planned: Sequence[TopicPlan]) -> Mapping[str, TopicDescription | None]:
        """Return the topics."""
        return {each.name: self.topics[each.name] for each in planned if each.name in self.topics}

    def create(self, missing: Sequence[TopicPlan]) -> None:
        """Create, or refuse to."""
        if self.refuses is not None:
            raise self.refuses
        self.created += [each.name for each in missing]
        self.topics |= {each.name: replace(described(each), topic_id="id-2") for each in missing}

    def watched(self, settings: Settings = SETTINGS) -> TopicWatch:
        """Return a watch after one check without problems."""
        counts = PartitionCounts({each.name: described(each).partitions for each in plan(settings)})
        watch = TopicWatch(
            settings,
            TopicLimits(8, SizeLimits({each.name: LIMIT for each in plan(settings)}), counts=counts),
            cast("TopicAdmin", self),
            Followers(self.changes.append, self.written_again.append, self.exchanged.append),
        )
        watch.check()
        return watch


def watching() -> tuple[Cluster, TopicWatch]:
    """A cluster, and the watch after one check without problems."""
    cluster = Cluster()
    return cluster, cluster.watched()


def levels(logs: Sequence[Mapping[str, object]]) -> list[str]:
    return [str(each["log_level"]) for each in logs]


def test_topics_without_problems_are_not_logged() -> None:
    """Check after check."""
    watch = Cluster().watched()
    with capture_logs() as logs:
        watch.check()
    assert logs == []
    assert all(topic.trouble is None and not any(topic.changes.values()) for topic in watch.snapshot())


def test_a_problem_that_two_checks_found_is_logged_once() -> None:
    """An error with the topic, the problem and the fix; an info line when it is solved."""
    cluster, watch = watching()
    cluster.topics[EVENTS.name] = described(EVENTS, **{"cleanup.policy": "compact"})
    with capture_logs() as logs:
        watch.check()
        assert logs == []
        watch.check()
        watch.check()
    (line,) = logs
    assert line["log_level"] == "error"
    assert line["topic"] == EVENTS.name
    assert "set cleanup.policy=delete" in line["problem"]
    (reported,) = [topic for topic in watch.snapshot() if topic.trouble]
    assert reported.name == EVENTS.name
    cluster.topics[EVENTS.name] = described(EVENTS)
    with capture_logs() as logs:
        watch.check()
    assert levels(logs) == ["info"]
    assert all(topic.trouble is None for topic in watch.snapshot())


def test_another_cluster_behind_the_same_name_is_reported_and_left_alone() -> None:
    """Its topics are not ours that were created again: no position is written to them."""
    cluster, watch = watching()
    cluster.id = None  # some answers lack it
    watch.check()
    assert cluster.exchanged == []
    cluster.id = "cluster-2"
    cluster.topics = {name: replace(topic, topic_id="id-9") for name, topic in cluster.topics.items() if topic}
    with capture_logs() as logs:
        watch.check()
    assert levels(logs) == ["error"]
    (problem,) = cluster.exchanged
    assert "its id is cluster-2, and was cluster-1" in problem
    assert cluster.written_again == []


def test_a_topic_that_stays_missing_is_created_again() -> None:
    """Not at the first check: the operator may be creating it again with other settings."""
    cluster, watch = watching()
    cluster.topics[EVENTS.name] = None
    watch.check()
    assert cluster.created == []
    assert watch.snapshot()[1].partitions is None
    with capture_logs() as logs:
        watch.check()
        watch.check()
    assert cluster.created == [EVENTS.name]
    assert levels(logs) == ["error", "warning", "error", "info"]
    assert watch.snapshot()[1].changes[ChangeKind.RECREATED] == 1


def test_a_topic_is_not_created_with_topics_create_false() -> None:
    """The problem says what to create, and stays."""
    cluster = Cluster()
    watch = cluster.watched(load({**REQUIRED, "topics.create": False}, {}))
    cluster.topics[EVENTS.name] = None
    for _ in range(3):
        watch.check()
    assert cluster.created == []
    assert "create it with 8 partitions" in str(watch.snapshot()[1].trouble)


@pytest.mark.parametrize("refusal", [SettingsError.of("topics.events", "no"), Unreachable("no answer")])
def test_a_topic_that_cannot_be_created_is_tried_again(refusal: Exception) -> None:
    """At each check."""
    cluster, watch = watching()
    cluster.topics[EVENTS.name], cluster.refuses = None, refusal
    watch.check()
    watch.check()
    cluster.refuses = None
    watch.check()
    assert cluster.created == [EVENTS.name]


def test_all_positions_are_written_to_a_recreated_checkpoints_topic() -> None:
    """With its present number of partitions."""
    cluster, watch = watching()
    cluster.topics[CHECKPOINTS.name] = TopicDescription(3, {"cleanup.policy": "compact"}, "id-2")
    with capture_logs() as logs:
        watch.check()
    assert cluster.written_again == [3]
    # Created again, with another number of partitions than before and than planned.
    assert levels(logs) == ["error", "error", "warning"]
    assert "position of every running session is written again" in logs[0]["change"]


def test_the_smallest_limit_of_all_topics_is_followed() -> None:
    """Down and up again."""
    cluster, watch = watching()
    cluster.topics[EVENTS.name] = described(EVENTS, **{"max.message.bytes": "50000"})
    watch.check()
    watch.check()
    cluster.topics[EVENTS.name] = described(EVENTS)
    watch.check()
    assert cluster.changes == [f"the topics accept batches of {size} bytes now" for size in (50_000, 1_000_000)]


def test_topics_that_may_not_be_described_keep_their_last_description() -> None:
    """No problem is invented."""
    cluster, watch = watching()
    cluster.topics.clear()
    with capture_logs() as logs:
        watch.check()
        watch.check()
    assert logs == []
    assert cluster.changes == []


def test_a_refused_size_has_the_topics_described_at_once() -> None:
    """Not only at the end of the interval."""
    _, watch = watching()
    watch.start()
    try:
        wait_until(lambda: watch._sizes.checks == 2, what="the first description of the thread")
        watch._sizes.wanted.set()
        wait_until(lambda: watch._sizes.checks == 3, 1.0, "another one before the interval is over")
        assert not watch._sizes.wanted.is_set()
    finally:
        watch.stop()
        assert watch.join(monotonic() + TIMEOUT)


def test_added_partitions_are_followed_with_new_producers() -> None:
    """The client would not know them for minutes."""
    cluster, watch = watching()
    cluster.topics[EVENTS.name] = replace(described(EVENTS), partitions=9)
    watch.check()
    watch.check()
    assert cluster.changes == ["the topics have other numbers of partitions"]
    assert watch._counts.by_topic[EVENTS.name] == 9


def test_added_partitions_are_reported_with_the_consequence() -> None:
    """The order across the change is lost and no record is hidden."""
    before = described(EVENTS)
    (change,) = changes(EVENTS, before, replace(before, partitions=9))
    assert change.kind is ChangeKind.PARTITIONS
    assert "9 partitions, 8 before" in change.message
    assert "do not add partitions" in change.message


def test_a_broker_without_topic_ids_reports_no_recreation() -> None:
    """None is not another id."""
    one = described(EVENTS)
    assert list(changes(EVENTS, replace(one, topic_id=None), one)) == []


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (None, "creates it again"),
        (replace(described(EVENTS), without_leader=2), "no leader"),
        (replace(described(EVENTS), under_min_isr=1), "min.insync.replicas"),
        (described(EVENTS, **{"cleanup.policy": "compact"}), "cleanup.policy"),
    ],
)
def test_a_problem_names_the_topic_and_the_fix(state: TopicDescription | None, words: str) -> None:
    """One sentence."""
    found = problem(EVENTS, state, NEEDED, create=True)
    assert found is not None
    assert EVENTS.name in found
    assert words in found


def test_an_age_limit_below_a_day_is_a_warning() -> None:
    """Records that wait for an unreachable Kafka would be refused."""
    (warning,) = warnings(EVENTS, described(EVENTS, **{"message.timestamp.before.max.ms": "60000"}), NEEDED)
    assert "60000" in warning
    assert warnings(EVENTS, described(EVENTS), NEEDED) == ()


class Away(Cluster):
    """Kafka is away: each request waits for an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[float, float]] = []

    def cluster_id(self) -> str | None:
        """Wait for longer than the watch takes for a refusal."""
        if self.id is not None:
            return self.id
        began = monotonic()
        let_pass(1.1)
        self.asked.append((began, monotonic()))
        raise Unreachable("no answer")


def test_while_kafka_is_away_a_request_waits_for_it_at_any_time() -> None:
    """Another cluster may answer after the outage: a pause would be time for records that belong to the former one."""
    cluster = Away()
    watch = cluster.watched()
    cluster.id = None
    watch.start()
    wait_until(lambda: len(cluster.asked) >= 2, what="two requests")
    cluster.id = "cluster-2"
    wait_until(lambda: cluster.exchanged, what="the other cluster")
    watch.stop()
    assert watch.join(monotonic() + TIMEOUT)
    (_, ended), (began, _) = cluster.asked[:2]
    assert began - ended < 3.0
