"""Moments between two threads, or in the middle of a call, at which delivery must still be right."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import cast

import pytest

from bridge.core.entries import Batch
from bridge.core.identity import SessionKey
from bridge.core.records.encoder import Encoder
from bridge.core.records.record import Record
from bridge.core.records.topics import PartitionCounts, SizeLimits
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow
from bridge.delivery import at_least_once, idempotent_sender, lease
from bridge.delivery.at_least_once import AtLeastOnce
from bridge.delivery.checkpoint_writer import OwnTopics
from bridge.delivery.lease import Lease, Prover
from bridge.delivery.producers import TopicIds
from bridge.delivery.protocol import Limits
from bridge.delivery.publisher import SessionPublisher
from bridge.kafka.client import QueueFull, Report
from bridge.kafka.producer import IdempotentProducer, Role
from tests.fakes.delivery_streams import CHECKPOINTS, EVENTS, LIFECYCLE, PARTITIONS, RULES
from tests.fakes.kafka_model import TOO_LARGE, at_once
from tests.fakes.membership import SoleOwner
from tests.fakes.scripted_producer import ScriptedProducer, message
from tests.support.waiting import TIMEOUT

KEY = SessionKey("local", "s0")


class Rig:
    """At-least-once delivery of one session, whose broker and delivery thread the test plays."""

    def __init__(self, prover: Prover | None = None) -> None:
        self.producers: list[ScriptedProducer] = []
        self.topic_ids = {EVENTS: "1"}
        self.heartbeats = 0
        self.delivery = AtLeastOnce(
            self._made,
            OwnTopics(CHECKPOINTS, PARTITIONS[CHECKPOINTS], LIFECYCLE, PartitionCounts(PARTITIONS)),
            SizeLimits(),
            TopicIds(dict(self.topic_ids), lambda: dict(self.topic_ids), at_once),
            Limits(10_000, 10**9),
            self._heartbeat,
        )
        self.publisher: SessionPublisher = self.delivery.open(
            KEY, Encoder(RULES, KEY), "", None, Lease(0, prover or SoleOwner())
        )
        self.publisher.begin_epoch(OverlapWindow.starting("0"))
        self.publisher._waits_for_fast_path = False

    def _heartbeat(self) -> None:
        self.heartbeats += 1

    def _made(self, role: Role) -> IdempotentProducer:
        self.producers.append(ScriptedProducer(role))
        return cast("IdempotentProducer", self.producers[-1])

    def producer(self, role: Role) -> ScriptedProducer:
        return next(each for each in reversed(self.producers) if each.role is role)

    def settle(self, turns: int = 6) -> None:
        """Some turns of the delivery thread; Kafka acknowledges everything after each."""
        for _ in range(turns):
            self.delivery.turn()
            for producer in self.producers:
                producer.acknowledge()


def events(first: int, count: int) -> list[Event]:
    return [Event("agent", '"x"', str(at), str(at), 1_700_000_000_000) for at in range(first, first + count)]


def test_a_batch_that_is_refused_and_lost_in_a_new_topic_starts_an_epoch():
    """Kafka accepts any first number of an unknown producer: the second request may stand behind the refused one."""
    rig = Rig()
    rig.settle()
    rig.publisher.submit(events(1, 3))
    rig.settle()
    epoch = rig.publisher.position.epoch
    rig.topic_ids[EVENTS] = "2"
    rig.publisher.submit(events(4, 10))
    producer = rig.producer(Role.EVENTS)
    first, _unreported = producer.queue[:5], producer.queue[5:]
    producer.queue.clear()
    for topic, report in first:
        report(TOO_LARGE, message(topic))
    producer.fatal = "gapless"
    rig.settle(25)
    assert rig.publisher.session.pending == 0
    assert rig.publisher.position.epoch > epoch


def test_each_acknowledged_batch_of_a_poll_is_a_sign_of_life():
    """On a slow machine a poll runs the reports of thousands of sessions for many seconds."""
    rig = Rig()
    rig.settle()
    rig.publisher.submit(events(1, 1))
    rig.settle()
    for at in range(2, 7):
        rig.publisher.submit(events(at, 1))
    before = rig.heartbeats
    rig.producer(Role.EVENTS).acknowledge()
    assert rig.heartbeats == before + 5


def test_a_stall_within_a_poll_leads_to_no_checkpoint_without_proof(monkeypatch: pytest.MonkeyPatch):
    """The process is stopped while it polls, and the reports are there when it is woken."""
    now = 1000.0

    class Proven:
        proven_at = now

        def ask(self) -> None: ...

        def prove(self, *_arguments: object) -> bool:
            return False

    prover = Proven()
    for module in (at_least_once, idempotent_sender, lease):
        monkeypatch.setattr(module, "monotonic", lambda: now)
    rig = Rig(cast("Prover", prover))

    def settle() -> None:
        nonlocal now
        for _ in range(60):
            now += 0.05
            prover.proven_at = now
            rig.settle(1)

    settle()
    rig.publisher.submit(events(1, 1))
    settle()
    rig.publisher.submit(events(2, 3))
    checkpoints = rig.producer(Role.CHECKPOINTS)
    written = checkpoints.produced

    def stop_for_a_minute() -> None:
        nonlocal now
        now += 60.0
        rig.producer(Role.EVENTS).acknowledge()

    rig.producer(Role.EVENTS).on_poll = stop_for_a_minute
    rig.delivery.turn()
    assert checkpoints.produced == written
    assert rig.publisher.acknowledged is not None


def test_the_window_is_whole_while_delivery_splits_the_newest_batch(monkeypatch: pytest.MonkeyPatch):
    """The worker that reconnects then must not resume from the first part: it would number the rest again."""
    rig = Rig()
    rig.publisher.submit(events(1, 10))
    whole, seen = rig.publisher.overlap_window, []
    split = Batch.split
    workers: list[threading.Thread] = []

    def observed(batch: Batch, records: int) -> Batch:
        tail = split(batch, records)
        workers.append(threading.Thread(target=lambda: seen.append(rig.publisher.overlap_window)))
        workers[-1].start()
        workers[-1].join(0.05)
        return tail

    monkeypatch.setattr(Batch, "split", observed)
    rig.settle()
    for worker in workers:
        worker.join(10.0)
    assert seen
    assert set(seen) == {whole}


def test_a_batch_that_is_discarded_at_once_gives_its_bytes_back(monkeypatch: pytest.MonkeyPatch):
    """The lease is revoked before the worker has counted the batch."""
    rig = Rig()
    settle = rig.delivery.sessions.budget.settle

    def revoke() -> None:
        rig.publisher.revoke()
        rig.settle()

    revoking = threading.Thread(target=revoke)

    def revoked_first(reserved: int, size: int) -> None:
        revoking.start()
        revoking.join(0.05)
        settle(reserved, size)

    monkeypatch.setattr(rig.delivery.sessions.budget, "settle", revoked_first)
    rig.publisher.submit(events(1, 5))
    revoking.join(10.0)
    rig.settle()
    assert rig.delivery.sessions.budget.held == 0


def test_a_batch_that_was_cut_introduces_only_the_producer_that_wrote_it(monkeypatch: pytest.MonkeyPatch):
    """All its reports came before it was known how many there are; then the producers are replaced."""
    rig = Rig()
    rig.settle()
    rig.publisher.submit(events(1, 1))
    rig.settle()
    producer = rig.producer(Role.EVENTS)

    def take_two(records: Sequence[Record], report: Report, _partitions: object) -> tuple[int, QueueFull]:
        for record in records[:2]:
            report(None, message(record.topic))
        return 2, QueueFull()

    monkeypatch.setattr(producer, "produce_all", take_two)
    rig.publisher.submit(events(2, 5))
    producer.fatal = "broken"
    rig.delivery.turn()
    assert rig.producer(Role.EVENTS) is not producer
    assert not rig.delivery._producers.introduced
    rig.settle()
    assert rig.publisher.session.pending == 0


@pytest.mark.parametrize("is_replaced", [True, False])
def test_a_revoked_session_holds_its_bytes_until_the_client_has_reported_them(
    monkeypatch: pytest.MonkeyPatch, *, is_replaced: bool
):
    """The client keeps its records for as long as the topic accepts nothing; a replaced client has none."""
    monkeypatch.setattr(at_least_once, "_DRAIN", 0.0)
    rig = Rig()
    rig.settle()
    rig.publisher.submit(events(1, 1))
    rig.settle()
    rig.publisher.submit(events(2, 50))
    held = rig.delivery.sessions.budget.held
    assert held > 0
    rig.delivery.leave(rig.publisher.session.lease)
    rig.delivery.turn()
    assert rig.publisher.session.in_flight.is_empty
    assert rig.delivery.sessions.budget.held == held
    if is_replaced:
        rig.delivery.renew_clients("the test")
        rig.delivery.turn()
    else:
        rig.settle(2)
    assert rig.delivery.sessions.budget.held == 0


def test_a_session_that_is_revoked_while_the_client_is_replaced_frees_its_bytes():
    """It gets no more reports, and its sender is not told of the replacement."""
    rig = Rig()
    rig.settle()
    rig.publisher.submit(events(1, 1))
    rig.settle()
    rig.publisher.submit(events(2, 50))
    rig.producer(Role.EVENTS).fatal = "broken"
    rig.delivery.leave(rig.publisher.session.lease)
    rig.delivery.turn()
    assert rig.delivery.sessions.budget.held == 0


def test_records_of_revoked_sessions_that_fill_the_memory_lead_to_a_new_client(monkeypatch: pytest.MonkeyPatch):
    """The events topic accepts nothing for hours, and the shard comes and goes."""
    monkeypatch.setattr(at_least_once, "_DRAIN", 0.0)
    rig = Rig()
    rig.settle()
    rig.publisher.submit(events(1, 1))
    rig.settle()
    rig.publisher.submit(events(2, 50))
    rig.delivery.sessions.budget.limit = 3 * rig.delivery.sessions.budget.held
    producer = rig.producer(Role.EVENTS)
    rig.delivery.leave(rig.publisher.session.lease)
    for _ in range(3):
        rig.delivery.turn()
    assert producer.is_abandoned
    assert rig.delivery.sessions.budget.held == 0


def test_a_worker_without_processor_time_holds_up_no_other_session():
    """On a slow machine it may hold its session's lock for long: the turn leaves that session out."""
    rig, other_key = Rig(), SessionKey("local", "s1")
    other = rig.delivery.open(other_key, Encoder(RULES, other_key), "", None, Lease(0, SoleOwner()))
    other.begin_epoch(OverlapWindow.starting("0"))
    with rig.publisher.session.lock:
        turns = threading.Thread(target=rig.settle)
        turns.start()
        turns.join(TIMEOUT / 10)
        assert not turns.is_alive(), "the turn waits for a worker"
    assert other.acknowledged is not None
    assert rig.publisher.acknowledged is None
    rig.settle()
    assert rig.publisher.acknowledged is not None
