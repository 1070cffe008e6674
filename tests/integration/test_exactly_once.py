"""Exactly-once delivery on a real Kafka: what a reader of committed records gets, after any fault."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Producer

from bridge.clock import monotonic
from bridge.core.identity import Position
from bridge.core.records.lifecycle import LifecycleEvent
from bridge.errors import SettingsError, Stopped
from bridge.kafka.transactional import TransactionTimeouts
from bridge.settings.naming import transactional_id
from tests.support.broker import Broker
from tests.support.delivery_topics import events
from tests.support.ending_proxy import Fate, ending_proxy
from tests.support.quotas import limit_producer
from tests.support.refusing_proxy import refusing_proxy
from tests.support.topics import create_topic, delete_topics, end_offsets
from tests.support.transactions import SHORT_TIMEOUTS, Topics, settled
from tests.support.waiting import SCALE, TIMEOUT, wait_until

RESUMED = LifecycleEvent("resumed", "replay_proved", "it continues")
ENDED = LifecycleEvent("ended", "gone", "it is gone")


def test_events_dead_letters_announcements_and_positions_are_committed_together(kafka: str, namespace: str) -> None:
    """And a restart continues with the next number."""
    topics = Topics(kafka, namespace)
    key = topics.key(0)
    with topics.replica() as replica:
        one = topics.open(replica, key)
        one.submit(events(range(1, 500)))
        one.submit(events([500], name="tool_call"))
        one.announce(RESUMED)
        settled(one)
        wait_until(lambda: topics.position_of(key) == one.position, what="the commit's markers")
        replica.delivery.stop()
        assert replica.delivery.join(monotonic() + TIMEOUT)
    with topics.replica() as replica:
        one = topics.open(replica, key)
        one.submit(events(range(501, 600)))
        one.submit(events([600], name="skipped"))
        one.end(ENDED)
        settled(one)
        closed = replica.delivery.sessions.close(key)
        assert closed is not None
        assert closed.state == "ended"
        wait_until(lambda: topics.restored()[key].state == "ended")
    assert topics.lifecycle_kinds() == ["resumed", "ended"]
    assert [at for _, at in topics.events_of(key)] == list(range(1, 600))


def test_what_its_topic_does_not_accept_aborts_nothing(kafka: str, namespace: str) -> None:
    """Two sessions of one shard, each 30th event too large for its topic: dead letters at once, whole, in seconds."""
    topics = Topics(kafka, namespace, tools=50_000)
    with topics.replica() as replica:
        began = monotonic()
        sessions = [topics.open(replica, topics.key(0, number)) for number in range(2)]
        for at in range(1, 401, 30):
            for one in sessions:
                one.submit(events(range(at, at + 29), size=1000))
                one.submit(events([at + 29], name="tool_call", size=100_000))
        for one in sessions:
            settled(one)
        assert monotonic() - began < 30 * SCALE
        assert [one.session.rewinds for one in sessions] == [0, 0]
    letters = topics.read(topics.dead_letters)
    assert {letter.header("bridge.reason") for letter in letters} == {"oversize"}
    assert len(letters) == 2 * 14
    assert all(len(letter.value or b"") > 100_000 for letter in letters)
    for one in sessions:
        topics.assert_exactly_once(one.key, 420)


def test_an_idle_shard_writes_nothing(kafka: str, namespace: str) -> None:
    """No transaction is begun when nothing moved."""
    topics = Topics(kafka, namespace)
    with topics.replica() as replica:
        one = topics.open(replica, topics.key(0))
        one.submit(events([1]))
        settled(one)
        turned = replica.thread(0).turned_at
        wait_until(lambda: replica.thread(0).turned_at > turned + 0.3)
        before = [end_offsets(kafka, topic) for topic in (*topics.topics, topics.checkpoints)]
        turned = replica.thread(0).turned_at
        wait_until(lambda: replica.thread(0).turned_at > turned + 0.6)
        assert [end_offsets(kafka, topic) for topic in (*topics.topics, topics.checkpoints)] == before


def test_a_refused_record_becomes_a_dead_letter_and_the_shard_goes_on(kafka: str, namespace: str) -> None:
    """Its number stays its own, those that shared its batch are published, and the other sessions lose nothing."""
    topics = Topics(kafka, namespace, limit=12_000)
    with topics.replica() as replica:
        one, other = topics.open(replica, topics.key(0)), topics.open(replica, topics.key(0, 1))
        for at in range(1, 100):
            one.submit(events([at], size=20_000 if at == 50 else 100))
            other.submit(events([at]))
        settled(one)
        settled(other)
        assert one.session.dead_letters == {"rejected": 1}
        assert not other.session.dead_letters
    topics.assert_exactly_once(one.key, 99)
    topics.assert_exactly_once(other.key, 99)
    (letter,) = topics.read(topics.dead_letters)
    assert (letter.header("bridge.sequence") or "").endswith(":000000000050")


def test_a_topic_that_takes_nothing_holds_up_its_session_alone(kafka: str, namespace: str) -> None:
    """It is left out of transactions, tried periodically, and continues when the topic is back."""
    topics = Topics(kafka, namespace)
    with topics.replica() as replica:
        one, other = topics.open(replica, topics.key(0)), topics.open(replica, topics.key(0, 1))
        for each in (one, other):
            each.submit(events([1]))
            settled(each)
        delete_topics(kafka, topics.tools)
        one.submit([*events([2], name="tool_call"), *events([3])])
        wait_until(lambda: one.session.trouble is not None, 20, "the reported trouble")
        for at in range(2, 8):
            other.submit(events([at]))
            settled(other, 10.0)
        assert one.session.pending
        create_topic(kafka, topics.tools)
        settled(one, 40.0)
    topics.assert_exactly_once(one.key, 3)
    topics.assert_exactly_once(other.key, 7)


def test_a_client_quota_makes_it_slow_and_does_not_stop_it(kafka: str, namespace: str) -> None:
    """The first transaction takes longer than the brokers allow: smaller ones follow, at the speed of the quota."""
    topics = Topics(kafka, namespace)
    topics.properties = {"client.id": namespace}
    limit_producer(kafka, namespace, 100_000)
    brief = TransactionTimeouts(transaction=20.0, flush=3.0, stuck=1.0, end=3.0)
    with topics.replica(interval=0.1, timeouts=brief) as replica:
        one = topics.open(replica, topics.key(0))
        settled(one)
        threads = len([*Path("/proc/self/task").iterdir()])
        one.submit(events(range(1, 2001), size=1000))
        wait_until(lambda: replica.delivery.waiting.is_throttled, 30, "the reported quota")
        settled(one, 120.0)
        assert len([*Path("/proc/self/task").iterdir()]) < threads + 10, "producers that are replaced end"
        assert not one.session.dead_letters
    topics.assert_exactly_once(one.key, 2000)


# Ends that are not known


@pytest.mark.parametrize("fate", [Fate.UNANSWERED, Fate.HELD])
def test_a_commit_with_an_unknown_outcome_loses_and_repeats_nothing(kafka: str, namespace: str, fate: Fate) -> None:
    """Obeyed and not answered, or still under way when its connection ends: it may touch no later transaction."""
    with ending_proxy(kafka) as proxy:
        topics = Topics(kafka, namespace, through=proxy.bootstrap)
        with topics.replica(interval=0.7, timeouts=replace(SHORT_TIMEOUTS, end=1.0)) as replica:
            one = topics.open(replica, topics.key(0))
            one.submit(events([1]))
            settled(one)
            before, proxy.next = proxy.seen, fate
            one.submit(events(range(2, 50)))
            wait_until(lambda: proxy.seen > before, 10, "the commit")
            one.submit(events(range(50, 100)))
            settled(one)
            assert replica.reclaims or fate is Fate.HELD
            assert replica.group.proofs >= 2, "no transactional id is taken without a proof"
            written = end_offsets(kafka, topics.events)
            one.submit(events(range(100, 150)))
            wait_until(lambda: end_offsets(kafka, topics.events) != written, 10, "records of an open transaction")
            proxy.release()
            one.submit(events(range(150, 200)))
            settled(one)
        assert len(proxy.released) == (fate is Fate.HELD)
        topics.assert_exactly_once(one.key, 199)


def test_kafka_away_for_longer_than_a_transaction_may_take(kafka: str, namespace: str) -> None:
    """The brokers have ended it by then, and speak as if there were a successor: but the shard is still ours."""
    with ending_proxy(kafka) as proxy:
        topics = Topics(kafka, namespace, through=proxy.bootstrap)
        brief = TransactionTimeouts(transaction=1.5, flush=1.0, stuck=0.7, end=0.7)
        with topics.replica(interval=0.2, timeouts=brief) as replica:
            one = topics.open(replica, topics.key(0))
            one.submit(events(range(1, 50)))
            written = end_offsets(kafka, topics.events)
            wait_until(lambda: end_offsets(kafka, topics.events) != written, 10, "records of an open transaction")
            proxy.passes.clear()
            began = monotonic()
            one.submit(events(range(50, 100)))
            wait_until(lambda: monotonic() - began > 2.5)
            assert one.session.pending
            proxy.passes.set()
            one.submit(events(range(100, 150)))
            settled(one)
            assert replica.delivery.bug is None
        topics.assert_exactly_once(one.key, 149)


def test_a_successor_ends_its_predecessor_and_has_all_it_committed(kafka: str, namespace: str) -> None:
    """A process that was paused with a transaction open finds out, hands nothing more over, and fences nobody."""
    topics = Topics(kafka, namespace)
    with topics.replica(interval=60.0) as paused:
        zombie = topics.open(paused, topics.key(0))
        zombie.submit(events(range(1, 50)))
        wait_until(lambda: sum(end_offsets(kafka, topics.events).values()) > 0, 10, "an open transaction")
        with topics.replica() as successor:
            paused.group.is_member = False
            one = topics.open(successor, topics.key(0))
            one.submit(events(range(1, 80)))
            settled(one)
            zombie.submit(events(range(50, 200)))
            paused.delivery.stop()  # so that it commits now
            wait_until(lambda: paused.thread(0).join(monotonic()), 20, "the end of the zombie's thread")
            assert paused.delivery.bug is None
            one.submit(events(range(80, 100)))
            settled(one)
            assert successor.reclaims == 0, "nobody fenced the owner"
    topics.assert_exactly_once(one.key, 99)


def test_leaving_a_shard_ends_its_open_transaction(kafka: str, namespace: str) -> None:
    """Readers of committed records need not wait for the brokers to do it, nor the next owner for its thread."""
    topics = Topics(kafka, namespace)
    with topics.replica(interval=60.0) as replica:
        one = topics.open(replica, topics.key(0))
        one.submit(events(range(1, 50)))
        wait_until(lambda: sum(end_offsets(kafka, topics.events).values()) > 0, 10, "an open transaction")
        thread = replica.thread(0)
        replica.delivery.leave(replica.leases[0])
        with pytest.raises(Stopped):
            one.submit(events([50]))
        wait_until(lambda: thread.join(monotonic()), 10, "the end of the thread")
        assert replica.delivery.sessions.budget.held == 0
        wait_until(lambda: topics.read(topics.events) == [], 5)
        assert replica.delivery.sessions.unsettled == 0


def test_another_program_with_our_transactional_ids_is_reported(kafka: str, namespace: str) -> None:
    """Shut out again and again though the group says that the shard is ours: a wrong namespace, not a take-over."""
    topics = Topics(kafka, namespace)
    with topics.replica() as replica:
        one = topics.open(replica, topics.key(0))
        at = 0
        while (bug := replica.delivery.bug) is None:
            at += 1
            assert at <= 6
            other = Producer({"bootstrap.servers": kafka, "transactional.id": transactional_id(namespace, 0)})
            other.init_transactions(TIMEOUT)
            one.submit(events([at]))
            wait_until(lambda: one.is_settled or replica.delivery.bug is not None, 20)
        assert isinstance(bug, SettingsError)
        assert bug.mistakes[0].key == "namespace"
    topics.assert_exactly_once(one.key, at - 1)


def test_a_foreign_open_transaction_delays_the_recovery_and_is_reported(kafka: str, namespace: str) -> None:
    """What stands in the checkpoints topic cannot be read behind it; the other shard continues."""
    with ending_proxy(kafka) as proxy:
        topics = Topics(kafka, namespace, through=proxy.bootstrap)
        with topics.replica((0, 1), timeouts=replace(SHORT_TIMEOUTS, end=1.0)) as replica:
            one, other = topics.open(replica, topics.key(0)), topics.open(replica, topics.key(1))
            one.submit(events([1]))
            settled(one)
            foreign = Producer({"bootstrap.servers": kafka, "transactional.id": f"{namespace}.foreign"})
            foreign.init_transactions(TIMEOUT)
            foreign.begin_transaction()
            foreign.produce(topics.checkpoints, b"?", b"#foreign", partition=0)
            assert foreign.flush(TIMEOUT) == 0
            proxy.next = Fate.UNANSWERED
            one.submit(events(range(2, 50)))
            held_up = wait_until(replica.reader.held_up, 20, "the shard to be held up")
            assert "kafka-transactions.sh" in held_up[0]
            other.submit(events(range(1, 50)))
            settled(other)
            assert not one.is_settled
            foreign.abort_transaction(TIMEOUT)
            settled(one)
        topics.assert_exactly_once(one.key, 49)
        topics.assert_exactly_once(other.key, 49)


def test_a_position_that_memory_does_not_know_starts_the_session_again(kafka: str, namespace: str) -> None:
    """Another process wrote one meanwhile: it is unknown which events in memory are in Kafka."""
    with ending_proxy(kafka) as proxy:
        topics = Topics(kafka, namespace, through=proxy.bootstrap)
        with topics.replica(timeouts=replace(SHORT_TIMEOUTS, end=1.0)) as replica:
            one, other = topics.open(replica, topics.key(0)), topics.open(replica, topics.key(0, 1))
            for each in (one, other):
                each.submit(events([1]))
                settled(each)
            known = one.checkpoints.checkpoint
            assert known is not None
            topics.write(replace(known, position=Position(5 * 10**9, 7, "7")))
            proxy.next = Fate.UNANSWERED
            other.submit(events([2]))
            settled(other)
            assert one.session.must_restart is not None
            with pytest.raises(Stopped):
                one.submit(events([2]))
            assert replica.restored[one.key].position.sequence == 7
        topics.assert_exactly_once(other.key, 2)


def test_a_brokers_restart_loses_and_repeats_nothing(private_broker: Broker, namespace: str) -> None:
    """Killed while transactions are open, and back with the same data."""
    topics = Topics(private_broker.bootstrap, namespace)
    with topics.replica() as replica:
        one = topics.open(replica, topics.key(0))
        for at in range(1, 200):
            one.submit(events([at]))
        private_broker.kill()
        one.submit(events(range(200, 300)))
        private_broker.start()
        one.submit(events(range(300, 400)))
        settled(one, 60)
    topics.assert_exactly_once(one.key, 399)


@pytest.mark.parametrize("every", [1, 10, 150])
def test_refused_records_become_dead_letters_and_everything_else_is_committed(
    kafka: str, namespace: str, every: int
) -> None:
    """Each alone in its request and its transaction; what was accepted is never sent again."""

    def refuse(topic: str, records: bytes) -> int:
        is_bad = b"will never do" in records and not topic.endswith("dead-letters")
        return KafkaError.INVALID_RECORD if is_bad else 0

    count = 200 if every > 1 else 20
    with refusing_proxy(kafka, refuse) as proxy:
        topics = Topics(kafka, namespace, through=proxy)
        with topics.replica() as replica:
            one, other = (topics.open(replica, topics.key(0, number)) for number in range(2))
            stream = events(range(1, count + 1))
            for at in range(every, count + 1, every):
                stream[at - 1] = stream[at - 1]._replace(data=f'{{"at":{at},"pad":"will never do"}}')
            one.submit(stream)
            other.submit(events(range(1, 101)))
            settled(other, 60)
            settled(one, 120)
    topics.assert_exactly_once(one.key, count)
    topics.assert_exactly_once(other.key, 100)
    letters = [letter.header("bridge.last_event_id") for letter in topics.read(topics.dead_letters)]
    assert letters == [str(at) for at in range(every, count + 1, every)]
