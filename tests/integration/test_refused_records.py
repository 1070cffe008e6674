"""At-least-once delivery on a real Kafka that refuses records, and whose data loss ends the producer."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from bridge.core.records.rules import Format
from bridge.delivery.publisher import SessionPublisher
from bridge.kafka.producer import Role
from tests.support.at_least_once import LARGE, LIMIT, SESSIONS, Topics, assert_complete
from tests.support.broker import Broker
from tests.support.delivery_topics import at_of, data, events
from tests.support.topics import create_topic, delete_topics
from tests.support.waiting import wait_until


@pytest.mark.parametrize("form", ["structured", "binary", "raw"])
def test_only_the_culprit_of_a_refused_batch_becomes_a_dead_letter(kafka: str, namespace: str, form: Format) -> None:
    """A topic's limit is lowered under the running bridge: batches of several sessions are refused for one record."""
    topics = Topics(kafka, namespace, form)
    with topics.delivering() as delivery:
        publishers = [topics.open(delivery, key) for key in SESSIONS]
        for one in publishers:
            one.submit(events(range(1, 51)))
        wait_until(lambda: all(one.acknowledged == one.position for one in publishers), 30, "the first events")
        epochs = {one.key: one.position.epoch for one in publishers}
        topics.lower(topics.events, LIMIT)
        for one in publishers[:2]:
            one.submit(events(range(51, 201)) + events([201], name="tool_call"))
        publishers[1].submit(events([202], size=LARGE) + events(range(203, 221)))
        publishers[2].submit(events([51], size=LARGE))
    follower = topics.follow()
    assert_complete(follower, SESSIONS[0], range(1, 202))
    assert_complete(follower, SESSIONS[1], range(1, 221))
    assert_complete(follower, SESSIONS[2], range(1, 52))
    letters = topics.read(topics.dead_letters)
    assert {(letter.key, letter.header("bridge.last_event_id")) for letter in letters} == {
        (b"local/s1", "202"),
        (b"local/s2", "51"),
    }
    assert {letter.header("bridge.reason") for letter in letters} == {"rejected"}
    assert all("MSG_SIZE_TOO_LARGE" in (letter.header("bridge.error") or "") for letter in letters)
    for one in publishers:
        assert topics.restored()[one.key].position == one.position
        assert one.position.epoch >= epochs[one.key]
        assert one.session.trouble is None


def test_what_its_topic_does_not_accept_is_never_sent_there(kafka: str, namespace: str) -> None:
    """The limits are known: a dead letter at once, whole, without a refused request or a new producer."""
    topics = Topics(kafka, namespace)
    topics.lower(topics.tools, LIMIT)
    topics.sizes.update({topics.tools: LIMIT})
    with topics.delivering() as delivery:
        one = topics.open(delivery, SESSIONS[0])
        for at in range(1, 201, 10):
            one.submit(events(range(at, at + 9)) + events([at + 9], name="tool_call", size=LARGE))
    letters = topics.read(topics.dead_letters)
    assert [at_of(letter.value or b"") for letter in letters] == list(range(10, 201, 10))
    assert {letter.header("bridge.reason") for letter in letters} == {"oversize"}
    assert all(len(letter.value or b"") > LARGE for letter in letters)
    assert_complete(topics.follow(), SESSIONS[0], range(1, 201))
    assert one.session.rewinds == 0
    assert topics.made == [Role.EVENTS, Role.CHECKPOINTS]


def test_a_dead_letter_fits_even_a_topic_smaller_than_its_marker(kafka: str, namespace: str) -> None:
    """Both topics are lowered: the letter is cut until Kafka takes it, and the next events follow."""
    topics = Topics(kafka, namespace)
    with topics.delivering() as delivery:
        one = topics.open(delivery, SESSIONS[0])
        topics.lower(topics.events, LIMIT)
        topics.lower(topics.dead_letters, LIMIT)
        one.submit(events([1], size=200_000) + events([2]))
    (letter,) = topics.read(topics.dead_letters)
    assert 0 < len(letter.value or b"") < LIMIT
    assert letter.header("bridge.bytes") == str(len(data(1, 200_000)))
    assert_complete(topics.follow(), SESSIONS[0], [1, 2])


def test_a_topic_that_comes_later_delays_and_loses_nothing(kafka: str, namespace: str) -> None:
    """A routed topic is deleted and created again: what belongs there waits, under its numbers or in a new epoch."""
    topics = Topics(kafka, namespace)
    with topics.delivering() as delivery:
        one = topics.open(delivery, SESSIONS[0])
        one.submit(events(range(1, 21), name="tool_call"))
        wait_until(lambda: one.acknowledged == one.position, 30, "the first events")
        delete_topics(kafka, topics.tools)
        for at in range(21, 121, 10):
            one.submit(events(range(at, at + 5), name="tool_call") + events(range(at + 5, at + 10)))
        create_topic(kafka, topics.tools, partitions=2)
    assert_complete(topics.follow(), SESSIONS[0], range(21, 121))
    assert topics.restored()[one.key].position == one.position


def test_the_end_of_a_producer_loses_nothing_that_was_in_memory(private_broker: Broker, namespace: str) -> None:
    """The broker loses acknowledged records, so the sequence breaks and the producer is finished: a new one continues.

    What the broker lost after it had acknowledged it is gone; everything later arrives, under the numbers it had.
    """
    topics = Topics(private_broker.bootstrap, namespace)
    partition = next(private_broker._data.rglob(f"{topics.events}-0"))
    saved = Path(f"{private_broker._data}.saved")
    with topics.delivering() as delivery:
        one = topics.open(delivery, SESSIONS[0])
        submit_and_wait(one, range(1, 101))
        private_broker.terminate()
        shutil.copytree(partition, saved)
        private_broker.start()
        submit_and_wait(one, range(101, 201))
        private_broker.kill()
        shutil.rmtree(partition)
        shutil.copytree(saved, partition)
        epoch = one.position.epoch
        one.submit(events(range(201, 301)))
        private_broker.start()
        wait_until(lambda: one.acknowledged == one.position, 60, "the rest from memory")
        submit_and_wait(one, range(301, 401))
    assert topics.made == [Role.EVENTS, Role.CHECKPOINTS] * 2, "the producer was not finished"
    follower = topics.follow()
    assert_complete(follower, SESSIONS[0], [*range(1, 101), *range(201, 401)])
    assert {one.epoch for one in follower.accepted} == {epoch}
    assert topics.restored()[one.key].position == one.position
    assert one.position.sequence == 400


def submit_and_wait(one: SessionPublisher, ats: Iterable[int]) -> None:
    """Until Kafka has acknowledged them."""
    one.submit(events(ats))
    wait_until(lambda: one.acknowledged == one.position, 60, f"events up to {one.position.last_event_id}")
