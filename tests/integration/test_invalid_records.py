"""Records that the broker calls invalid, alone and within a batch, in every format and on routed topics."""

from __future__ import annotations

import json

import pytest
from confluent_kafka import KafkaError

from bridge.core.records.rules import Format
from bridge.core.stream.event import Event
from bridge.kafka.producer import Role
from tests.support.at_least_once import LARGE, LIMIT, SESSIONS, Topics, assert_complete
from tests.support.delivery_topics import at_of, data, events
from tests.support.refusing_proxy import refusing_proxy
from tests.support.rule import understand
from tests.support.waiting import wait_until

BAD = "this will never do"


def bad(at: int, name: str = "agent") -> Event:
    """An event that the broker refuses in any batch."""
    (event,) = events([at], name=name)
    return Event(name, data(at).replace('"pad"', f'"{BAD}"'), event.id, event.last_event_id, event.received_ms)


def refuse_bad(topic: str, records: bytes) -> int:
    """INVALID_RECORD, but not for a dead letter."""
    return KafkaError.INVALID_RECORD if BAD.encode() in records and not topic.endswith("dead-letters") else 0


@pytest.mark.parametrize("form", ["structured", "binary", "raw"])
def test_only_what_is_invalid_becomes_a_dead_letter(kafka: str, namespace: str, form: Format) -> None:
    """In the middle of a batch, alone, first of its topic, and routed: each once, whole, under its number."""
    with refusing_proxy(kafka, refuse_bad) as proxy:
        topics = Topics(kafka, namespace, form)
        topics.bootstrap = proxy
        with topics.delivering() as delivery:
            publishers = [topics.open(delivery, key) for key in SESSIONS]
            publishers[2].submit([bad(1)])
            for one in publishers[:2]:
                one.submit(events(range(1, 51)))
            wait_until(lambda: all(one.acknowledged == one.position for one in publishers), 30, "the first events")
            publishers[0].submit([*events(range(51, 101)), bad(101), *events(range(102, 151)), bad(151)])
            publishers[1].submit([*events(range(51, 61), name="tool_call"), bad(61, "tool_call"), *events([62])])
            publishers[1].submit(events(range(63, 71), name="tool_call"))
            publishers[2].submit(events(range(2, 41)))
        topics.bootstrap = kafka
    follower = topics.follow()
    for key, count in zip(SESSIONS, (151, 70, 40), strict=True):
        assert_complete(follower, key, range(1, count + 1))
    letters = topics.read(topics.dead_letters)
    assert {(letter.key, letter.header("bridge.last_event_id")) for letter in letters} == {
        (b"local/s0", "101"),
        (b"local/s0", "151"),
        (b"local/s1", "61"),
        (b"local/s2", "1"),
    }
    for letter in letters:
        assert letter.header("bridge.reason") == "rejected"
        assert "INVALID_RECORD" in (letter.header("bridge.error") or "")
        assert BAD in json.loads(letter.value or b"")
    for one in publishers:
        assert topics.restored()[one.key].position == one.position
        assert one.session.trouble is None


def test_a_record_too_large_for_its_routed_topic_holds_up_nobody(kafka: str, namespace: str) -> None:
    """The other topic and the other session keep their epoch; small records of the routed topic get there."""
    topics = Topics(kafka, namespace)
    with topics.delivering() as delivery:
        one, other = (topics.open(delivery, key) for key in SESSIONS[:2])
        for each in (one, other):
            each.submit([*events(range(1, 11)), *events(range(11, 21), name="tool_call")])
        wait_until(lambda: one.acknowledged == one.position, 30, "the first events")
        epoch = other.position.epoch
        topics.lower(topics.tools, LIMIT)
        one.submit([*events(range(21, 31)), *events([31], name="tool_call", size=LARGE), *events(range(32, 41))])
        one.submit(events(range(41, 51), name="tool_call"))
        other.submit(events(range(21, 31)))
    follower = topics.follow()
    assert_complete(follower, SESSIONS[0], range(1, 51))
    assert_complete(follower, SESSIONS[1], range(1, 31))
    assert other.position.epoch == epoch
    (letter,) = topics.read(topics.dead_letters)
    assert letter.header("bridge.last_event_id") == "31"
    assert {at_of(understand(each).data) for each in topics.read(topics.tools)} == {*range(11, 21), *range(41, 51)}


def test_a_refused_dead_letter_waits_and_is_reported(kafka: str, namespace: str) -> None:
    """No later event overtakes it, the other session continues, and the status shows the reason until it is fixed."""
    is_mended = False

    def refuse(_topic: str, records: bytes) -> int:
        return KafkaError.INVALID_RECORD if BAD.encode() in records and not is_mended else 0

    with refusing_proxy(kafka, refuse) as proxy:
        topics = Topics(kafka, namespace)
        topics.bootstrap = proxy
        with topics.delivering() as delivery:
            one, other = (topics.open(delivery, key) for key in SESSIONS[:2])
            one.submit([*events([1]), bad(2), *events([3])])
            wait_until(
                lambda: one.session.rewinds >= 2 and "INVALID_RECORD" in (one.session.trouble or ""),
                20,
                "its trouble",
            )
            other.submit(events(range(1, 11)))
            wait_until(lambda: other.acknowledged == other.position, 20, "the other session")
            wait_until(lambda: topics.dead_letters in (one.session.trouble or ""), 20, "the trouble of the dead letter")
            assert one.acknowledged is not None
            assert one.acknowledged.last_event_id == "1"
            is_mended = True
        topics.bootstrap = kafka
    assert_complete(topics.follow(), SESSIONS[0], range(1, 4))
    assert one.session.trouble is None


@pytest.mark.parametrize("every", [1, 10, 250])
def test_every_refused_record_is_found_without_a_new_producer_for_each(kafka: str, namespace: str, every: int) -> None:
    """The session stays on the isolation producer, where a refusal ends no producer; the other session continues."""
    count = 500 if every > 1 else 60
    with refusing_proxy(kafka, refuse_bad) as proxy:
        topics = Topics(kafka, namespace)
        topics.bootstrap = proxy
        with topics.delivering() as delivery:
            one, other = (topics.open(delivery, key) for key in SESSIONS[:2])
            one.submit(
                [bad(at) if at % every == 0 else event for at, event in enumerate(events(range(1, count + 1)), 1)]
            )
            other.submit(events(range(1, 101)))
            wait_until(lambda: other.acknowledged == other.position, 30, "the other session")
        topics.bootstrap = kafka
    follower = topics.follow()
    assert_complete(follower, SESSIONS[0], range(1, count + 1))
    assert_complete(follower, SESSIONS[1], range(1, 101))
    letters = [letter.header("bridge.last_event_id") for letter in topics.read(topics.dead_letters)]
    assert letters == [str(at) for at in range(every, count + 1, every)]
    assert topics.made.count(Role.EVENTS) <= 3
