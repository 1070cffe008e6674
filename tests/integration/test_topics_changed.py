"""Topics that are deleted, created again, repartitioned or configured differently while the daemon runs.

No record in memory is lost, no record is hidden from a consumer that follows the rule, the records of other topics are
published meanwhile, and the operator learns what happened and what to do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_END
from confluent_kafka.admin import NewPartitions

from tests.support.broker import quiet_admin
from tests.support.process import Bridge
from tests.support.rule import follow
from tests.support.scene import (
    checkpoints,
    events,
    session,
    settings,
    started,
    status,
    texts,
    wait_acknowledged,
    wait_checkpoint,
    wait_logged,
)
from tests.support.scripted_mix import Feed, content, scripted_mix
from tests.support.topics import alter, create_topic, delete_topics, partitions_of, remove_before
from tests.support.waiting import TIMEOUT, wait_until


def add_partitions(kafka: str, topic: str, total: int) -> None:
    """Raise the number of partitions."""
    admin = quiet_admin(kafka)
    for future in admin.create_partitions([NewPartitions(topic, total)]).values():
        future.result(TIMEOUT)
    wait_until(lambda: len(partitions_of(kafka, topic)) == total, 10, f"{total} partitions of {topic}")


def delete(kafka: str, topic: str) -> None:
    """Delete a topic, and wait until the broker has forgotten it."""
    delete_topics(kafka, topic)
    wait_until(lambda: partitions_of(kafka, topic) == [], 10, f"the end of {topic}")


def described(bridge: Bridge, topic: str) -> dict[str, Any]:
    """Return a topic in ``/api/status``."""
    found: dict[str, Any] = status(bridge)["topics"][topic]
    return found


def wait_positions(kafka: str, namespace: str, positions: Iterable[tuple[str, str]]) -> None:
    """Wait until the newest checkpoint of each session has this last event id."""
    for name, last in positions:
        wait_checkpoint(kafka, namespace, name, lambda one, last=last: one["last_event_id"] == last)  # type: ignore[misc]


def watched(folder: Path, chosen: Mapping[str, object]) -> Bridge:
    """Start a bridge and wait until it has described its topics."""
    bridge = started(folder, chosen)

    def has_described() -> bool:
        topics = status(bridge)["topics"]
        return bool(topics) and all(each["partitions"] for each in topics.values())

    wait_until(has_described, 20, f"the description of the topics, see {bridge.log}", 0.05)
    return bridge


@contextmanager
def bridged(
    folder: Path, kafka: str, namespace: str, feeds: Mapping[str, Feed], more: Mapping[str, object] | None = None
) -> Iterator[Bridge]:
    """Run a bridge for a server with these sessions; it must shut down gracefully."""
    with scripted_mix(feeds) as mix, watched(folder, settings(kafka, namespace, mix.url, more or {})) as bridge:
        yield bridge
        assert bridge.terminate() == 0


def wait_problem(bridge: Bridge, topic: str, *words: str) -> None:
    """Return once the topic's problem is in the status, the log, ``/readyz`` and the metric."""
    wait_until(lambda: described(bridge, topic)["trouble"], 20, f"problem of {topic}, see {bridge.log}", 0.1)
    wait_problem_logged(bridge, topic, *words)
    wait_until(lambda: bridge.get("/readyz").status == 503, 5, "a 503 of /readyz", 0.1)
    (check,) = [each for each in bridge.get("/readyz").json()["checks"] if not each["ok"]]
    assert check["name"] == "topics"
    assert topic in check["detail"]
    assert f'mix_bridge_topic_trouble{{topic="{topic}"}} 1.0' in bridge.get("/metrics").text


def wait_problem_logged(bridge: Bridge, topic: str, *words: str) -> None:
    """Return once the topic's problem is in the log."""
    assert wait_logged(bridge, "a topic has a problem", topic, *words)["level"] == "error"


def wait_solved(bridge: Bridge, topic: str) -> None:
    """Return once the topic's problem is solved and the bridge ready."""
    wait_until(lambda: described(bridge, topic)["trouble"] is None, 20, f"{topic} without problem", 0.1)
    wait_logged(bridge, "the topic's problem is solved", topic)
    bridge.wait_ready()


def wait_change(bridge: Bridge, topic: str, kind: str, *words: str) -> None:
    """Return once a change is reported."""
    wait_until(lambda: described(bridge, topic)["changes"][kind], 20, f"{kind} of {topic}", 0.1)
    assert wait_logged(bridge, "a topic was changed", topic, *words)["level"] == "error"
    assert f'mix_bridge_topic_changes_total{{change="{kind}",topic="{topic}"}} 1.0' in bridge.get("/metrics").text


def wait_read(bridge: Bridge, session_id: str, last_event_id: str) -> None:
    """Return once Kafka has acknowledged everything up to an id of a session."""
    wait_until(
        lambda: (one := session(bridge, session_id)).get("last_event_id") == last_event_id and one["in_flight"] == 0,
        30,
        f"{session_id} at {last_event_id}: {session(bridge, session_id)}, see {bridge.log}",
        0.05,
    )


def contents(kafka: str, namespace: str, *topics: str) -> Mapping[str, list[str]]:
    """Return the contents of each session's events in these topics, as a consumer that follows the rule sees them."""
    records = [record for topic in topics for record in events(kafka, namespace, topic)]
    return {
        key: [json.loads(one.data)["content"] for one in sorted(followed, key=lambda one: one.number)]
        for key, followed in follow(records).by_key().items()
    }


def numbers(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last + 1)]


def test_a_deleted_topic_is_reported_and_created_again(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Its records wait, the other session continues, and all records arrive in the new topic."""
    tools, feeds = f"{namespace}.tools", {"a": Feed(5), "b": Feed(5)}
    more = {"topics.routes": [{"match": "todos_*", "topic": tools}]}
    with bridged(tmp_path, kafka, namespace, feeds, more) as bridge:
        push(feeds["a"], "todos_updated", 6)
        wait_read(bridge, "a", "6")
        wait_read(bridge, "b", "5")
        delete(kafka, tools)
        push(feeds["a"], "todos_updated", 7)
        feeds["a"].add(3)
        feeds["b"].add(5)
        wait_read(bridge, "b", "10")
        wait_logged(bridge, "created again", tools)
        assert wait_logged(bridge, "does not exist any more", tools)["level"] == "error"
        wait_read(bridge, "a", "10")
        wait_solved(bridge, tools)
        wait_change(bridge, tools, "recreated", "its records are lost")
    assert len(partitions_of(kafka, tools)) == 2
    assert contents(kafka, namespace, "events", "tools") == {
        "local/a": [*numbers(1, 5), *numbers(7, 10)],
        "local/b": numbers(1, 10),
    }


def test_a_deleted_lifecycle_topic_does_not_stop_events_for_ever(kafka: str, namespace: str, tmp_path: Path) -> None:
    """The lifecycle record of a reconnection is published before the events after it."""
    feed, topic = Feed(5), f"{namespace}.lifecycle"
    with bridged(tmp_path, kafka, namespace, {"a": feed}) as bridge:
        wait_read(bridge, "a", "5")
        delete(kafka, topic)
        feed.cut()
        feed.add(5)
        wait_problem_logged(bridge, topic, "does not exist any more", "all later records of the same sessions")
        wait_logged(bridge, "created again", topic)
        wait_read(bridge, "a", "10")
        wait_solved(bridge, topic)
    assert texts(kafka, namespace, "a") == numbers(1, 10)
    assert events(kafka, namespace, "lifecycle")


def push(feed: Feed, name: str, number: int) -> None:
    """Add an event of another name whose content is its number."""
    feed.push(name, content(number))


def test_a_topic_that_stays_missing_is_reported_and_waited_for(kafka: str, namespace: str, tmp_path: Path) -> None:
    """``topics.create`` is false: not ready until the topic is created, with fewer partitions than before."""
    for name, config in (("events", {}), ("dead-letters", {}), ("lifecycle", {}), ("checkpoints", COMPACTED)):
        create_topic(kafka, f"{namespace}.{name}", 4, config)
    feed, topic = Feed(5), f"{namespace}.events"
    more = {"topics.create": False, "topics.shards": 4}
    with bridged(tmp_path, kafka, namespace, {"a": feed}, more) as bridge:
        wait_read(bridge, "a", "5")
        delete(kafka, topic)
        feed.add(5)
        wait_problem(bridge, topic, "create it with 2 partitions")
        assert described(bridge, topic)["partitions"] is None
        assert partitions_of(kafka, topic) == []
        # The records that waited are older than the new topic allows.
        create_topic(kafka, topic, 1, {"message.timestamp.before.max.ms": "1000"})
        feed.add(5)
        wait_read(bridge, "a", "15")
        wait_solved(bridge, topic)
    # A new epoch may repeat events: records in flight to the old partitions were overtaken.
    assert sorted(set(texts(kafka, namespace, "a")), key=int) == numbers(6, 15)


COMPACTED = {"cleanup.policy": "compact"}


def test_added_partitions_hide_no_event(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Keys move in mid-stream: all events of each session are there, and the change is reported."""
    names = [f"s{number}" for number in range(8)]
    feeds = {name: Feed(20) for name in names}
    # The client refreshes its metadata itself, but only every five minutes.
    more = {"kafka.properties.topic.metadata.refresh.interval.ms": 300}
    topic = f"{namespace}.events"
    with bridged(tmp_path, kafka, namespace, feeds, more) as bridge:
        wait_acknowledged(bridge, names[0], 20)
        add_partitions(kafka, topic, 7)
        fed = feed_until(feeds, lambda: moved(kafka, namespace) >= 2)
        wait_change(bridge, topic, "partitions", "do not add partitions")
        for name in names:
            wait_read(bridge, name, str(fed))
        assert bridge.get("/readyz").status == 200
    assert contents(kafka, namespace, "events") == {f"local/{name}": numbers(1, fed) for name in names}


def feed_until(feeds: Mapping[str, Feed], is_enough: Callable[[], bool]) -> int:
    """Add events to each stream until it is enough; return how many each had."""
    fed = 20

    def more() -> bool:
        nonlocal fed
        for feed in feeds.values():
            feed.add(10)
        fed += 10
        return is_enough()

    wait_until(more, 20, "enough events", 0.1)
    return fed


def moved(kafka: str, namespace: str) -> int:
    """Return how many keys are in more than one partition."""
    partitions = {(record.key, record.partition) for record in events(kafka, namespace)}
    return len(partitions) - len({key for key, _ in partitions})


def test_a_recreated_checkpoints_topic_holds_every_position(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Also those of idle sessions; a restart resumes the sessions there."""
    feeds, topic = {"a": Feed(5), "idle": Feed(3), "b": Feed(4)}, f"{namespace}.checkpoints"
    with scripted_mix(feeds) as mix:
        with watched(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            for name, last in (("a", "5"), ("idle", "3"), ("b", "4")):
                wait_read(bridge, name, last)
            wait_positions(kafka, namespace, (("a", "5"), ("idle", "3"), ("b", "4")))
            delete(kafka, topic)
            feeds["a"].add(5)
            wait_read(bridge, "a", "10")  # events do not wait for the checkpoints topic
            create_topic(kafka, topic, 2, COMPACTED)
            wait_change(bridge, topic, "recreated", "written again")
            wait_positions(kafka, namespace, (("a", "10"), ("idle", "3"), ("b", "4")))
            assert session(bridge, "a")["last_error"] is None
            delete(kafka, topic)
            wait_logged(bridge, "does not exist any more", topic, "new sessions wait")
            wait_logged(bridge, "created again", topic)
            wait_checkpoint(kafka, namespace, "idle", lambda one: one["last_event_id"] == "3")
            assert bridge.terminate() == 0
        asked = len(mix.asked)
        for feed in feeds.values():
            feed.add(1)
        with watched(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            for name, last in (("a", "11"), ("idle", "4"), ("b", "5")):
                wait_read(bridge, name, last)
            assert bridge.terminate() == 0
        assert all(int(each.last_event_id or 0) >= 2 for each in mix.asked[asked:])
    assert {key: len(each) for key, each in contents(kafka, namespace, "events").items()} == {
        "local/a": 11,
        "local/idle": 4,
        "local/b": 5,
    }
    assert len({one["epoch"] for one in checkpoints(kafka, namespace)["local/idle"]}) == 1


def test_a_recreated_checkpoints_topic_with_other_partitions_ends_the_process(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """Sessions move to other shards: all positions are written to the new topic, and the process ends with 75."""
    feeds, topic = {"a": Feed(5), "b": Feed(4)}, f"{namespace}.checkpoints"
    with scripted_mix(feeds) as mix:
        with watched(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            wait_positions(kafka, namespace, (("a", "5"), ("b", "4")))
            delete(kafka, topic)
            create_topic(kafka, topic, 1, COMPACTED)
            assert bridge.wait(TIMEOUT) == 75
            assert "start again" in bridge.log_text()
        for feed in feeds.values():
            feed.add(1)
        with watched(tmp_path, settings(kafka, namespace, mix.url, {"topics.shards": 1})) as bridge:
            for name, last in (("a", "6"), ("b", "5")):
                wait_read(bridge, name, last)
            assert bridge.terminate() == 0
    assert {key: len(each) for key, each in contents(kafka, namespace, "events").items()} == {
        "local/a": 6,
        "local/b": 5,
    }


def test_a_checkpoints_topic_that_another_program_created_again_is_repaired(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """With one partition and without compaction, as brokers do it: the process continues, and no position is lost."""
    feeds, topic = {"a": Feed(5), "idle": Feed(3)}, f"{namespace}.checkpoints"
    with scripted_mix(feeds) as mix:
        with watched(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            wait_positions(kafka, namespace, (("a", "5"), ("idle", "3")))
            delete(kafka, topic)
            create_topic(kafka, topic)
            wait_logged(bridge, "has its former partitions and settings again", topic)
            wait_change(bridge, topic, "recreated", "written again")
            wait_positions(kafka, namespace, (("a", "5"), ("idle", "3")))
            bridge.wait_ready()
            assert bridge.terminate() == 0
        assert len(partitions_of(kafka, topic)) == 2
        for feed in feeds.values():
            feed.add(1)
        with watched(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            wait_read(bridge, "a", "6")
            wait_read(bridge, "idle", "4")
            assert bridge.terminate() == 0
    assert {key: len(each) for key, each in contents(kafka, namespace, "events").items()} == {
        "local/a": 6,
        "local/idle": 4,
    }


def test_a_checkpoints_topic_of_another_shape_that_may_not_be_repaired_is_named(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """``topics.create`` is false: the process runs on, and continues once somebody has created the topic properly."""
    for name, config in (("events", {}), ("dead-letters", {}), ("lifecycle", {}), ("checkpoints", COMPACTED)):
        create_topic(kafka, f"{namespace}.{name}", 2, config)
    feed, topic = Feed(5), f"{namespace}.checkpoints"
    with bridged(tmp_path, kafka, namespace, {"a": feed}, {"topics.create": False}) as bridge:
        wait_checkpoint(kafka, namespace, "a", lambda one: one["last_event_id"] == "5")
        delete(kafka, topic)
        create_topic(kafka, topic)
        wait_problem(bridge, topic, "delete it and create it with 2 partitions and cleanup.policy=compact")
        delete(kafka, topic)
        create_topic(kafka, topic, 2, COMPACTED)
        wait_checkpoint(kafka, namespace, "a", lambda one: one["last_event_id"] == "5")
        wait_solved(bridge, topic)


def test_limits_are_followed_down_and_up(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Lowered: whole batches are refused only once. Raised: large records are accepted again.

    Each change starts one new epoch: with other limits, a number could belong to a record of another topic.
    """
    feed, topic = Feed(5), f"{namespace}.events"
    with bridged(tmp_path, kafka, namespace, {"a": feed}) as bridge:
        wait_read(bridge, "a", "5")
        alter(kafka, topic, max_message_bytes=3000)
        feed.add(300)
        wait_change(bridge, topic, "limit", "max.message.bytes=3000")
        feed.add(1)  # the first event that is encoded for the new limit
        wait_read(bridge, "a", "306")
        epoch = session(bridge, "a")["epoch"]
        feed.add(699)
        wait_read(bridge, "a", "1005")
        assert session(bridge, "a")["epoch"] == epoch, "batches are refused again and again"
        alter(kafka, topic, max_message_bytes=500_000)
        wait_logged(bridge, "using new producers", "500000")
        feed.push("content", content("x" * 20_000))
        wait_read(bridge, "a", "1006")
        bridge.kill()
        bridge.start().wait_ready()
        wait_until(lambda: session(bridge, "a")["epoch"] > epoch, 10, "a new epoch", 0.05)
    assert events(kafka, namespace, "dead-letters") == []
    found = contents(kafka, namespace, "events")["local/a"]
    assert sorted(set(found), key=found.index) == [*numbers(1, 1005), "x" * 20_000]


def test_topic_settings_that_lose_or_refuse_records_are_reported(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Compaction: not ready until it is removed. A short retention does not stop publishing."""
    feed, topic = Feed(5), f"{namespace}.events"
    with bridged(tmp_path, kafka, namespace, {"a": feed}) as bridge:
        wait_read(bridge, "a", "5")
        for partition in partitions_of(kafka, topic):
            remove_before(kafka, topic, OFFSET_END, partition)
        alter(kafka, topic, cleanup_policy="compact", message_timestamp_before_max_ms=1000)
        alter(kafka, f"{namespace}.dead-letters", retention_ms=1, segment_ms=100)
        push(feed, "content", 6)
        feed.push("content", "no json")
        wait_problem(bridge, topic, "set cleanup.policy=delete")
        assert wait_logged(bridge, "message.timestamp.before.max.ms=1000", "raise it")["level"] == "warning"
        assert described(bridge, topic)["warnings"]
        alter(kafka, topic, cleanup_policy="delete")
        wait_solved(bridge, topic)
        push(feed, "content", 8)
        wait_read(bridge, "a", "8")
    assert texts(kafka, namespace, "a") == ["6", "8"]
