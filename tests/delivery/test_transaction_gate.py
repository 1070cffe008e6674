"""Exactly once: nothing gets into a transaction between a session's position and the commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import pytest
from confluent_kafka import KafkaError

from bridge.core.durations import Durations
from bridge.core.identity import Position, SessionKey
from bridge.core.records.checkpoint import Checkpoint, decode
from bridge.core.records.encoder import Encoder
from bridge.core.records.record import Record
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow
from bridge.delivery import publisher as publisher_module
from bridge.delivery.budget import MemoryBudget
from bridge.delivery.checkpoint_writer import CheckpointWriter, OwnTopics
from bridge.delivery.lease import Lease
from bridge.delivery.publisher import SessionPublisher
from bridge.delivery.session import Session
from bridge.delivery.transactional_sender import TransactionalSender
from bridge.kafka.client import Outgoing, ProduceFailed, QueueFull, Report
from bridge.kafka.transactional import TransactionalProducer
from tests.fakes.delivery_streams import CHECKPOINTS, ENDED, EVENTS, LIFECYCLE, PARTITIONS, RULES
from tests.fakes.membership import SoleOwner

KEY = SessionKey("local", "s1")
RESTORED = Checkpoint(KEY, Position(5, 3, "3"), "active", 0, "", OverlapWindow.starting("3"))


class Open:
    """The producer of an open transaction: keeps what it takes, up to ``capacity`` records of events."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []
        self.capacity = 100
        self.refusal: KafkaError | None = None

    def produce(self, record: Outgoing, _report: Report) -> None:
        self.taken.append((record.topic, record.value or b""))

    def produce_all(
        self, records: Sequence[Record], _report: Report, _partitions: Mapping[str, int]
    ) -> tuple[int, QueueFull | ProduceFailed | None]:
        free = self.capacity - len(self.events)
        self.taken += [(record.topic, record.value) for record in records[:free]]
        if len(records) <= free:
            return len(records), None
        return free, QueueFull() if self.refusal is None else ProduceFailed(self.refusal)

    @property
    def events(self) -> list[bytes]:
        return [value for topic, value in self.taken if topic == EVENTS]

    @property
    def checkpoint(self) -> Checkpoint:
        """The newest one in the transaction."""
        return decode(KEY.record_key, [value for topic, value in self.taken if topic == CHECKPOINTS][-1])

    @property
    def position(self) -> Position:
        return self.checkpoint.position


class Scene:
    """One session in an open transaction; the test plays the shard's thread."""

    def __init__(self) -> None:
        self.producer, lease = Open(), Lease(0, SoleOwner())
        encoder, budget = Encoder(RULES, KEY), MemoryBudget(10**6)
        session = Session(KEY, encoder, RESTORED, budget, lease, Durations().publish_of("local"))
        topics = OwnTopics(CHECKPOINTS, PARTITIONS[CHECKPOINTS], LIFECYCLE)
        present = cast("TransactionalProducer", self.producer)
        checkpoints = CheckpointWriter(session, "", RESTORED, topics, lambda: present, lambda: None)
        self.sender = TransactionalSender(session, checkpoints, lambda: present, lambda _sender: None)
        self.publisher = SessionPublisher(session, self.sender, 100)
        self.open()

    def open(self) -> None:
        self.sender.open(10**6, opens_fast_path=True)

    def submit(self, *ids: int) -> None:
        self.publisher.submit([Event("agent", f'{{"at": {at}}}', str(at), str(at), 1_700_000_000_000) for at in ids])


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(publisher_module, "_FAST_PATH_WAIT", 0.0)
    return Scene()


def test_records_that_come_after_the_position_wait_for_the_next_transaction(scene: Scene) -> None:
    """The commit would publish them without a position: a crash would publish them again."""
    scene.submit(4, 5)
    assert scene.sender.finish_part()
    assert scene.producer.position == Position(5, 5, "5")
    scene.submit(6)
    assert len(scene.producer.events) == 2
    scene.sender.committed()
    assert scene.publisher.acknowledged == Position(5, 5, "5")
    scene.open()
    assert len(scene.producer.events) == 3


def test_the_position_covers_only_what_the_client_took(scene: Scene) -> None:
    """Its queue is full in the middle of a batch: the rest, and everything after it, waits."""
    scene.producer.capacity = 2
    scene.submit(4, 5, 6)
    scene.submit(7)
    assert scene.sender.finish_part()
    assert scene.producer.position == Position(5, 5, "5")
    scene.sender.committed()
    scene.producer.capacity = 100
    scene.open()
    assert len(scene.producer.events) == 4


def test_a_transaction_in_which_the_client_refused_a_record_is_not_committed(scene: Scene) -> None:
    """What it took before is in the transaction, and the position must not be: the part has failed."""
    scene.producer.capacity, scene.producer.refusal = 1, KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "too large")
    scene.submit(4, 5, 6)
    assert scene.sender.finish_part()
    assert scene.sender.handover.has_failed
    assert not [topic for topic, _ in scene.producer.taken if topic == CHECKPOINTS]


def test_an_ended_session_stays_ended_when_its_checkpoint_is_written_again(scene: Scene) -> None:
    """Otherwise its next owner would attach to it, and announce its end a second time."""
    scene.publisher.end(ENDED)
    scene.open()
    assert scene.sender.finish_part()
    scene.sender.committed()
    assert scene.producer.checkpoint.state == "ended"
    taken = len(scene.producer.taken)
    scene.sender.checkpoints.write_again()
    assert scene.sender.finish_part()
    scene.sender.committed()
    assert len(scene.producer.taken) == taken + 1
    assert scene.producer.checkpoint.state == "ended"


@pytest.mark.parametrize("is_recreated", [False, True])
def test_a_checkpoint_that_must_be_written_again_before_its_commit_is_written_again(
    scene: Scene, *, is_recreated: bool
) -> None:
    """The commit is about a record before the stale one, or in a topic that is gone: it does not count."""
    checkpoints = scene.sender.checkpoints
    scene.submit(4)
    assert scene.sender.finish_part()
    checkpoints.begin_again(PARTITIONS[CHECKPOINTS]) if is_recreated else checkpoints.write_again()
    scene.sender.committed()
    assert scene.sender.is_unwritten
    scene.open()
    assert scene.sender.finish_part()
    scene.sender.committed()
    assert scene.publisher.is_settled
