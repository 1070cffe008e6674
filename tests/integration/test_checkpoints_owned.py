"""``mix-bridge checkpoints set`` and ``reset`` while members of the bridge's group are running."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from bridge.admin.checkpoints.topic import OwnersUnknown, live, owners, owning
from bridge.core.identity import partition_of
from bridge.core.records.member_metadata import MemberMetadata
from bridge.demo.embedded_kafka import EmbeddedKafka
from bridge.kafka.group import GroupMember
from tests.support.checkpoint_values import COMPACTED, encoded
from tests.support.process import command
from tests.support.scene import bridged, checkpoints, settings, texts, wait_acknowledged, write
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.topics import create_topic
from tests.support.waiting import wait_until

PARTITIONS = 2
URL = "http://127.0.0.1:9"


@contextmanager
def member(kafka: str, group: str, topic: str, client: str = "a bridge") -> Iterator[Consumer]:
    """A member of the group that has all its partitions, until it leaves."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": group,
            "client.id": client,
            "enable.auto.commit": False,
            "partition.assignment.strategy": "cooperative-sticky",
            "log_level": 2,
        }
    )
    consumer.subscribe([topic])

    def assigned() -> list[TopicPartition]:
        consumer.poll(0.1)
        return consumer.assignment()

    try:
        wait_until(lambda: len(assigned()) == PARTITIONS, 20, "all partitions")
        yield consumer
    finally:
        consumer.close()


def test_a_session_of_a_running_bridge_is_not_changed(kafka: str, namespace: str, tmp_path: Path) -> None:
    """The owner is named. --force writes anyway; without a running bridge it is not needed."""
    topic = f"{namespace}.checkpoints"
    create_topic(kafka, topic, PARTITIONS, COMPACTED)
    home = partition_of(b"local/a", PARTITIONS)
    write(kafka, topic, b"local/a", encoded("a"), home)
    write(kafka, topic, b"local/b", encoded("b"), 1 - partition_of(b"local/b", PARTITIONS))
    chosen = settings(kafka, namespace, URL)
    with member(kafka, f"{namespace}.bridge", topic):
        for arguments in (
            ["set", "local/a", "--last-event-id", "9"],
            ["reset", "local/a"],
            ["set", "--misplaced"],
        ):
            done = command(["checkpoints", *arguments], chosen)
            assert (done.returncode, done.stdout) == (1, ""), arguments
            assert "refused, nothing is written" in done.stderr
            assert "owned by a bridge at 127.0.0.1" in done.stderr
            assert "--force" in done.stderr
        assert len(checkpoints(kafka, namespace)["local/a"]) == 1
        file = tmp_path / "positions"
        exported = command(["checkpoints", "export", "--output", str(file)], chosen)
        assert exported.returncode == 0
        assert "Its positions change" in exported.stderr
        done = command(["checkpoints", "import", str(file)], chosen)
        assert (done.returncode, done.stdout) == (1, "")
        assert "mix-bridge is running: a bridge at 127.0.0.1" in done.stderr
        forced = command(["checkpoints", "set", "local/a", "--last-event-id", "9", "--force"], chosen)
        assert forced.returncode == 0, forced.stderr
    done = command(["checkpoints", "reset", "local/a"], chosen)
    assert done.returncode == 0, done.stderr
    assert [each["last_event_id"] for each in checkpoints(kafka, namespace)["local/a"]] == ["2", "9", "0"]


def test_a_running_bridge_continues_from_a_forced_change(kafka: str, namespace: str, tmp_path: Path) -> None:
    """In a new epoch, so a consumer misses nothing. A stopped bridge with `instance` does not count as running."""
    with scripted_mix({"a": Feed(5)}) as mix:
        chosen = settings(kafka, namespace, mix.url, {"instance": "first"})
        change = ["checkpoints", "set", "local/a", "--last-event-id", "3"]
        with bridged(tmp_path, chosen) as bridge:
            wait_acknowledged(bridge, "a", 5)
            refused = command(change, chosen)
            assert (refused.returncode, refused.stdout) == (1, "")
            assert "owned by first at 127.0.0.1" in refused.stderr
            assert command([*change, "--force"], chosen).returncode == 0
            repeated = ["1", "2", "3", "4", "5", "4", "5"]
            wait_until(lambda: texts(kafka, namespace, "a") == repeated, 20, f"4 and 5 again, see {bridge.log}", 0.2)
        done = command(change, chosen)
        assert done.returncode == 0, done.stderr


def test_members_are_returned_with_their_shards(kafka: str, namespace: str) -> None:
    """A group that never existed has no members."""
    config, group, topic = {"bootstrap.servers": kafka}, f"{namespace}.bridge", f"{namespace}.other"
    create_topic(kafka, topic, PARTITIONS)
    assert owners(config, group, topic) == ()
    with member(kafka, group, topic):
        (one,) = owners(config, group, topic)
    assert one.shards == {0, 1}
    assert owners(config, group, topic) == ()


def test_a_kafka_that_cannot_describe_groups_is_reported() -> None:
    """The embedded one."""
    with (
        EmbeddedKafka() as embedded,
        pytest.raises(OwnersUnknown, match=r"describing the consumer group mix\.bridge"),
    ):
        owners({"bootstrap.servers": embedded.bootstrap_servers}, "mix.bridge", "mix.checkpoints")


def test_only_the_shards_in_question_count() -> None:
    """A member with other shards, or with none, owns nothing of them."""
    members = [GroupMember("id", "host", frozenset({0, 2})), GroupMember("id", "host")]
    assert owning(members, [1]) == {}
    assert owning(members, [2, 0, 1]) == {0: members[0], 2: members[0]}


def test_a_member_that_committed_its_leave_is_not_live() -> None:
    """Metadata of another replica does not count, and all of the member's shards must say so."""

    def of(instance: str | None, *shards: int) -> GroupMember:
        return GroupMember("id", "host", frozenset(shards), instance=instance)

    def metadata(instance: str | None, *, left: bool) -> MemberMetadata:
        return MemberMetadata("owner", instance, "run", "servers", "1", 7, left)

    left, stays, other = metadata("a", left=True), metadata("a", left=False), metadata("b", left=True)
    for member, committed, is_live in (
        (of("a", 0, 1), {0: left, 1: left}, False),
        (of("a", 0, 1), {0: left, 1: stays}, True),
        (of("a", 0, 1), {0: left}, True),
        (of("a", 0), {0: other}, True),
        (of("a"), {0: left}, True),
        (of(None, 0), {0: metadata(None, left=True)}, True),
    ):
        assert bool(live([member], committed)) is is_live
