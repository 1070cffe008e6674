"""One answer of delivery to one fault each, on the model of Kafka; ``test_delivery_model`` has all of them together."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, cast

import pytest

from bridge.core.identity import Position, SessionKey, partition_of, sendable
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.encoder import Encoder
from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.records.topics import PartitionCounts, SizeLimits
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow
from bridge.delivery import checkpoint_writer
from bridge.delivery import lease as lease_module
from bridge.delivery.at_least_once import AtLeastOnce
from bridge.delivery.checkpoint_writer import OwnTopics
from bridge.delivery.idempotent_sender import IdempotentSender
from bridge.delivery.lease import Lease
from bridge.delivery.producers import TopicIds
from bridge.delivery.protocol import Limits
from bridge.delivery.publisher import SessionPublisher
from bridge.errors import Stopped
from bridge.kafka.client import Outgoing
from bridge.kafka.producer import IdempotentProducer, Role
from tests.fakes.delivery_streams import (
    CHECKPOINTS,
    DEAD,
    ENDED,
    EVENTS,
    LIFECYCLE,
    PARTITIONS,
    RULES,
    TOOLS,
    Clock,
    as_read,
    at_of,
    patched_clock,
)
from tests.fakes.kafka_model import ModelKafka, ModelProducer, at_once, unheard
from tests.fakes.membership import SoleOwner
from tests.support.rule import Followed, Follower, understand

LOCAL = SessionKey("local", "s1")
CHECKPOINT = Checkpoint(LOCAL, Position(5, 3, "3"), "active", 0, "", OverlapWindow.starting("3"))
OTHER = SessionKey("local", "s2")
NEVER = 10**6
"""Seconds between checkpoints where a test does not want the timer to help."""


def alone() -> Lease:
    """Of a process that shares its sessions with nobody."""
    return Lease(0, SoleOwner())


class Rig:
    """Delivery on a model of Kafka that does nothing by chance alone."""

    def __init__(self, clock: Clock, *, max_in_flight: int = 1000) -> None:
        self.clock = clock
        self.kafka = ModelKafka(dict(PARTITIONS), unheard, ids=dict.fromkeys(PARTITIONS, "first"))
        self.counts = PartitionCounts(self.kafka.partitions)
        self.producers: list[ModelProducer] = []
        self.delivery = AtLeastOnce(
            self._make,
            OwnTopics(CHECKPOINTS, PARTITIONS[CHECKPOINTS], LIFECYCLE, self.counts),
            SizeLimits(),
            TopicIds(self.kafka.ids, lambda: dict(self.kafka.ids), at_once),
            Limits(checkpoint_interval=NEVER, max_in_flight=max_in_flight, max_buffer_bytes=10**6),
            lambda: None,
        )
        self.turn()  # the timer's first time

    def _make(self, role: Role) -> IdempotentProducer:
        self.producers.append(ModelProducer(self.kafka, random.Random(7), role))
        return cast("IdempotentProducer", self.producers[-1])

    def open(self, key: SessionKey = LOCAL, lease: Lease | None = None) -> SessionPublisher:
        """A new session, its first mark acknowledged."""
        one = self.delivery.open(key, Encoder(RULES, key), "", None, lease or alone())
        one.begin_epoch(OverlapWindow.starting("0"))
        self.turn(20)
        assert one.checkpoints.written == one.acknowledged == one.position
        return one

    def sender(self, key: SessionKey = LOCAL) -> IdempotentSender:
        """The delivery thread's side of a session."""
        return self.delivery._senders[key]

    def turn(self, times: int = 1, seconds: float = 0.03) -> None:
        for _ in range(times):
            self.clock.now += seconds
            self.delivery.turn()

    def write(self, topic: str) -> None:
        """Kafka receives what the first producer has for this topic before all others."""
        producer = self.producers[0]
        while producer._queued[topic, 0]:
            producer._send((topic, 0))
            producer._write(producer._sent[topic, 0])

    def records(self, topic: str) -> list[Followed]:
        """The data records of a topic."""
        logs = [log for (name, _), log in self.kafka.logs.items() if name == topic]
        return [understand(as_read(record, 0)) for log in logs for record in log]


@pytest.fixture
def rig() -> Iterator[Rig]:
    clock = Clock()
    with patched_clock(clock), pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_writer, "_CHECKPOINTS_EVERY", NEVER)
        yield Rig(clock)


def events(*ids: int, name: str = "agent", size: int = 0) -> list[Event]:
    return [Event(name, f'{{"at": {at}, "pad": "{"x" * size}"}}', str(at), str(at), 1_700_000_000_000) for at in ids]


def sequences(records: list[Followed]) -> list[int]:
    return [record.sequence for record in records]


def test_a_record_handed_over_while_the_producers_change_does_not_overtake(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for those the dead producer had; its report is counted once, so that the next failure is not stuck."""
    one = rig.open()
    lose = IdempotentSender.lose_producers

    def submit_and_lose(sender: IdempotentSender, *how: Any) -> None:
        monkeypatch.setattr(IdempotentSender, "lose_producers", lose)
        one.submit(events(3))
        for producer in rig.producers[1:]:
            producer._live(20)
        lose(sender, *how)

    monkeypatch.setattr(IdempotentSender, "lose_producers", submit_and_lose)
    one.submit(events(1, 2))
    rig.producers[0].fatal = "broken"
    rig.turn(100)
    assert sequences(rig.records(EVENTS)) == [1, 2, 3]
    rig.kafka.down.add(EVENTS)
    one.submit(events(4))
    rig.turn(20)
    rig.kafka.heal()
    rig.turn(100)
    assert sequences(rig.records(EVENTS)) == [1, 2, 3, 4]
    assert one.acknowledged == one.position


def test_a_session_opened_while_the_producers_change_starts_with_the_new_one(rig: Rig) -> None:
    """Its way to Kafka is opened by the delivery thread alone."""
    one = rig.delivery.open(LOCAL, Encoder(RULES, LOCAL), "", CHECKPOINT, alone())
    one.submit(events(4))
    assert not any(rig.producers[0]._queued.values())
    rig.turn(20)
    assert sequences(rig.records(EVENTS)) == [4]


def test_the_last_lifecycle_events_are_kept_with_their_numbers(rig: Rig) -> None:
    """Each once, also if its record had to be written again; not more than 20."""
    one = rig.open()
    for at in range(25):
        if at == 23:
            rig.turn(100)
            rig.kafka.down.add(LIFECYCLE)
        one.submit(events(at + 1))
        one.announce(LifecycleEvent("resumed", "replay_proved", str(at)))
    rig.turn(50)
    rig.producers[1].fatal = "broken"  # with the record of one event in its queue
    rig.turn(100)
    rig.kafka.heal()
    rig.turn(200, 0.5)
    kept = one.checkpoints.announced
    assert [(each.event.detail, each.sequence) for each in kept] == [(str(at), at + 1) for at in range(5, 25)]
    assert {each.epoch for each in kept} == {one.position.epoch}


def test_a_refusal_for_size_reads_the_limits_before_a_record_is_searched(rig: Rig) -> None:
    """The topic's limit was lowered a moment ago: everything in memory is encoded by the new one.

    In a new epoch: all of an epoch are encoded for the same limits, also after a kill.
    """
    one = rig.open()
    limits = rig.sender().session.encoder.limits
    limits.update({})
    one.submit(events(1))
    rig.turn(50)
    epoch = one.position.epoch
    rig.kafka.limits[EVENTS] = 400
    one.submit([*events(2), *events(3, size=3000), *events(4)])
    rig.turn(20)
    assert limits.wanted.is_set()
    assert one.acknowledged != one.position
    assert not rig.records(DEAD)
    limits.update({EVENTS: 1000})
    rig.turn(100)
    assert [record.record.header("bridge.reason") for record in rig.records(DEAD)] == ["oversize"]
    assert sequences(rig.records(EVENTS)) == [1, 1, 3]
    assert one.position.epoch > epoch
    assert Role.ISOLATION not in {producer.role for producer in rig.producers}


def test_other_limits_of_a_topic_begin_an_epoch_that_no_later_process_continues(rig: Rig) -> None:
    """A killed process may leave a later dead letter and not an earlier event, and the limit may be changed back."""
    one = rig.delivery.open(LOCAL, Encoder(RULES, LOCAL), "known", None, alone())
    one.begin_epoch(OverlapWindow.starting("0"))
    limits = rig.sender().session.encoder.limits
    one.submit(events(1))
    rig.turn(50)
    before = one.position.epoch
    limits.update({})
    one.submit(events(2))
    rig.turn(50)
    assert one.position.epoch == before, "the same limits"
    assert one.checkpoints.checkpoint is not None
    assert one.checkpoints.checkpoint.fingerprint == "known"
    limits.update({EVENTS: 1000})
    one.submit(events(3, 4))
    rig.turn(50)
    assert sequences(rig.records(EVENTS)) == [1, 2, 1, 2]
    assert one.position.epoch > before
    assert one.checkpoints.checkpoint.fingerprint == ""


def test_limits_that_change_while_delivery_begins_an_epoch_begin_another(rig: Rig) -> None:
    """A batch that is encoded again for other numbers is encoded for other limits as well."""
    one = rig.open()
    session = rig.sender().session
    session.encoder.limits.update({})
    one.submit(events(1))
    rig.turn(50)
    assert one._limits is not None
    have_changed, began = one._limits.have_changed, session.epoch + 1

    def delivery_is_faster() -> bool:
        answer = have_changed()
        if session.epoch < began:
            session.epoch, session.sequence = began, 0
            session.encoder.limits.update({EVENTS: 1000})
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one._limits, "have_changed", delivery_is_faster)
        one.submit(events(2, size=3000))
    rig.turn(50)
    assert one.position.epoch > began
    assert [(each.epoch, each.sequence) for each in rig.records(DEAD)] == [(one.position.epoch, 1)]


def test_a_refusal_for_size_that_the_limits_do_not_explain_is_isolated(rig: Rig) -> None:
    """The limits are as they were, or nobody answers."""
    one = rig.open()
    limits = rig.sender().session.encoder.limits
    limits.update({})
    rig.kafka.limits[EVENTS] = 400
    one.submit(events(1, size=3000))
    rig.turn(20)
    assert not rig.records(DEAD)
    rig.turn(200)
    assert [record.record.header("bridge.reason") for record in rig.records(DEAD)] == ["rejected"]
    one.submit([*events(2, size=3000), *events(3)])
    rig.turn(200)
    reasons = [record.record.header("bridge.reason") for record in rig.records(DEAD)]
    assert reasons == ["rejected", "oversize"], "such records are not tried again"
    assert sequences(rig.records(EVENTS)) == [3]
    assert limits.of(EVENTS) < 4000
    limits.update({EVENTS: 2_000_000})
    assert limits.of(EVENTS) == 2_000_000


@pytest.mark.parametrize("limit", [20_000, 300, 10, 0])
def test_a_dead_letter_that_is_too_large_as_well_is_cut_until_it_is_taken(rig: Rig, limit: int) -> None:
    """A topic that is smaller than the marker must not hold its session up for ever; the headers say the full size."""
    one = rig.open()
    rig.kafka.limits |= {EVENTS: limit, DEAD: limit}
    rig.kafka.client_limit = max(limit, 1000)  # no smaller than a checkpoint
    one.submit(events(1, size=200_000))
    rig.turn(100)
    (letter,) = rig.records(DEAD)
    assert len(letter.data) <= limit
    assert len(letter.data) > limit // 17 or not limit
    assert int(letter.record.header("bridge.bytes") or "") > 200_000
    assert one.session.dead_letters == {"rejected": 1}
    assert one.acknowledged == one.position


def test_a_suspect_stays_alone_while_its_dead_letter_is_not_taken(rig: Rig) -> None:
    """Back in a batch with others it would have them refused, and wound back, again and again."""
    one, other = rig.open(), rig.open(OTHER)
    rig.kafka.limits[EVENTS] = 400
    rig.kafka.down.add(DEAD)
    one.submit(events(1, size=3000))
    rig.turn(200, 0.5)
    assert one.session.trouble is not None
    before = other.session.rewinds
    for at in range(1, 30):
        other.submit(events(at))
        rig.turn(10, 0.5)
    assert other.session.rewinds == before
    assert other.acknowledged == other.position
    rig.kafka.down.clear()
    rig.turn(200, 0.5)
    assert sequences(rig.records(DEAD)) == [1]
    assert one.acknowledged == one.position
    assert one.session.dead_letters == {"rejected": 1}
    assert one.session.trouble is None


def test_suspects_stay_alone_when_their_topic_fails_meanwhile(rig: Rig) -> None:
    """Two faults at once: the isolation survives the failures of the topic, and no number changes."""
    one = rig.open()
    rig.kafka.limits[EVENTS] = 400
    one.submit(events(*range(1, 20)) + events(20, size=3000))
    while rig.sender().handover.piece is None:
        rig.turn()
    for _ in range(10):
        rig.kafka.down.add(EVENTS)
        rig.turn(5, 1.0)
        rig.kafka.down.clear()
        rig.turn(5, 1.0)
    rig.turn(400, 1.0)
    assert one.session.epochs == 1
    assert [at_of(letter.data) for letter in rig.records(DEAD)] == [20]
    assert one.acknowledged == one.position


def test_a_session_in_a_partition_without_a_leader_delays_no_isolation_elsewhere(rig: Rig) -> None:
    """Each partition has its own turn at the isolation producer."""
    here = partition_of(LOCAL.record_key, PARTITIONS[EVENTS])
    keys = (SessionKey("local", f"s{number}") for number in range(2, 20))
    elsewhere = next(key for key in keys if partition_of(key.record_key, PARTITIONS[EVENTS]) != here)
    one, other = rig.open(), rig.open(elsewhere)
    rig.kafka.limits[EVENTS] = 400
    for each in (one, other):
        each.submit(events(*range(1, 40)) + events(40, size=3000))
    while not (rig.sender().handover.piece is not None and rig.sender(elsewhere).handover.isolation.is_active):
        rig.turn()
    assert other.acknowledged != other.position
    rig.kafka.leaderless.add((EVENTS, here))
    rig.turn(100)
    assert other.acknowledged == other.position
    assert one.acknowledged != one.position
    rig.kafka.leaderless.clear()
    rig.turn(100)
    assert one.acknowledged == one.position


def test_a_suspended_session_keeps_nobody_from_the_isolation_producer(rig: Rig) -> None:
    """Its piece was refused while its process was no member of the group: what follows waits for the group."""
    lease, beside = alone(), _key_beside(LOCAL)
    one, other = rig.open(lease=lease), rig.open(beside)
    rig.kafka.limits[EVENTS] = 400
    for each in (one, other):
        each.submit(events(*range(1, 20)) + events(20, size=500))
    while rig.sender().handover.piece is None:
        rig.turn()
    assert other.acknowledged != other.position
    lease.suspend()
    rig.turn(300)
    assert other.acknowledged == other.position
    assert one.acknowledged != one.position
    lease.resume()
    rig.turn(300)
    assert one.acknowledged == one.position


@pytest.mark.parametrize("error", [TypeError("a bug"), MemoryError()])
def test_an_exception_of_the_client_leaves_no_record_without_a_report(rig: Rig, error: Exception) -> None:
    """Records of which nobody knows whether they were taken would hold the session for ever."""
    one, producer = rig.open(), rig.producers[0]
    one.submit(events(1))
    rig.turn(20)
    take = producer.produce

    def produce(record: Outgoing, report: Any) -> None:
        if at_of(record.value or b"") == 3:
            raise error
        take(record, report)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(producer, "produce", produce)
        with nullcontext() if isinstance(error, MemoryError) else pytest.raises(TypeError):
            one.submit(events(2, 3, 4))
    rig.turn(50)
    assert one.acknowledged == one.position
    assert sequences(rig.records(EVENTS)) == [1, 2, 3, 4]


def test_a_checkpoint_that_a_dead_producer_had_is_written_by_the_next(rig: Rig) -> None:
    """Otherwise the session would wait for its report for ever."""
    one = rig.open()
    one.submit(events(1))
    rig.turn(20)
    rig.sender().write_checkpoint()
    rig.producers[0]._queued.clear()
    rig.producers[0].fatal = "broken"
    rig.turn()
    rig.sender().write_checkpoint()
    rig.turn(20)
    assert one.is_settled


def test_only_the_culprit_becomes_a_dead_letter(rig: Rig) -> None:
    """Those that shared its request are published under their numbers, and so is it, as a dead letter."""
    one, other = rig.open(), rig.open(OTHER)
    first = one.position.epoch
    rig.kafka.limits[EVENTS] = 2000
    one.submit(events(1, 2))
    other.submit(events(1))
    one.submit(events(3, size=3000))
    one.submit(events(4))
    rig.turn(300)
    letters = rig.records(DEAD)
    assert [letter.number for letter in letters] == [(first, 3)]
    published = [record.number for record in rig.records(EVENTS) if record.key == str(LOCAL)]
    assert published == [(first, 1), (first, 2), (first, 4)]
    assert one.position == Position(first, 4, "4")
    assert other.session.dead_letters == {}


def invalid(at: int) -> Event:
    return Event("agent", f'{{"at": {at}, "invalid": true}}', str(at), str(at), 1_700_000_000_000)


def accepted(rig: Rig) -> list[int]:
    """The events that a consumer of all topics has, in the order of the stream."""
    follower = Follower()
    for log in rig.kafka.logs.values():
        for offset, record in enumerate(log):
            if record.place[0] in {EVENTS, TOOLS, DEAD}:
                follower.take(as_read(record, offset))
    return sorted({at_of(one.data) for one in follower.accepted})


def test_a_refused_record_is_not_hidden_behind_a_later_dead_letter(rig: Rig) -> None:
    """Under its old number a consumer of the dead letters would drop it: it has seen a higher one."""
    one = rig.open()
    one.submit([*events(1), invalid(2)])
    rig.turn(100)
    rig.kafka.limits[EVENTS] = 2000
    one.submit([*events(3, 4, size=3000), invalid(5), *events(6)])
    rig.write(DEAD)
    rig.turn(400)
    assert accepted(rig) == [1, 2, 3, 4, 5, 6]
    assert one.session.dead_letters == {"schema": 2, "rejected": 2}
    assert one.acknowledged == one.position
    assert one.session.epochs == 2, "after the first verdict no dead letter has a number of the new one"


def test_a_refused_record_is_not_hidden_behind_a_dead_letter_from_before_a_restart(rig: Rig) -> None:
    """The process was killed between the later dead letter and the verdict about the earlier record."""
    first = rig.open()
    first.submit([*events(1), invalid(2)])
    rig.turn(100)
    rig.sender().write_checkpoint()
    rig.turn(20)
    rig.kafka.limits[EVENTS] = 2000
    first.submit([*events(3, size=3000), invalid(4)])
    rig.write(DEAD)
    assert sequences(rig.records(DEAD)) == [2, 4]
    again = Rig(rig.clock)
    again.kafka.logs, again.kafka.limits = rig.kafka.logs, rig.kafka.limits
    restored = first.checkpoints.checkpoint
    one = again.delivery.open(LOCAL, Encoder(RULES, LOCAL), "", restored, alone())
    one.submit([*events(3, size=3000), invalid(4)])
    again.turn(400)
    assert accepted(again) == [1, 2, 3, 4]
    assert one.acknowledged == one.position


def test_an_event_for_which_its_topic_became_too_small_is_not_hidden(rig: Rig) -> None:
    """The lowered limit makes it a dead letter, but a later dead letter is written already."""
    one = rig.open()
    limits = rig.sender().session.encoder.limits
    limits.update({})
    one.submit([*events(1), invalid(2)])
    rig.turn(100)
    rig.kafka.limits[EVENTS] = 400
    one.submit([*events(3, size=3000), invalid(4)])
    rig.write(DEAD)
    rig.turn(20)
    limits.update({EVENTS: 1000})
    rig.turn(200)
    assert accepted(rig) == [1, 2, 3, 4]
    assert one.session.dead_letters == {"schema": 2}
    assert one.acknowledged == one.position


def test_an_event_that_changes_places_with_a_later_dead_letter_is_not_hidden(rig: Rig) -> None:
    """One topic accepts less and another one more: as many records leave the dead letters as come to them."""
    one = rig.open()
    limits = rig.sender().session.encoder.limits
    limits.update({TOOLS: 1000})
    one.submit([*events(1), invalid(2), *events(3, name="tool_call")])
    rig.turn(100)
    rig.kafka.limits[EVENTS] = 400
    one.submit([*events(4, size=3000), *events(5, name="tool_call", size=3000)])
    rig.write(DEAD)
    rig.turn(20)
    limits.update({EVENTS: 1000, TOOLS: 10**6})
    rig.turn(200)
    assert accepted(rig) == [1, 2, 3, 4, 5]
    assert one.acknowledged == one.position


def test_attempts_at_a_topic_that_takes_nothing_become_rare_and_quick_again_after(rig: Rig) -> None:
    """In an outage of minutes each session tries every half minute, not twice a second."""
    one = rig.open()
    rig.kafka.down.add(EVENTS)
    one.submit(events(1, 2, 3))
    rig.turn(3000, 0.1)
    assert 5 <= one.session.rewinds <= 20
    assert one.session.trouble is not None
    assert "UNKNOWN_TOPIC_OR_PART" in one.session.trouble
    rig.kafka.heal()
    rig.turn(400, 0.1)
    assert one.acknowledged == one.position
    assert one.session.trouble is None
    before = one.session.rewinds
    rig.kafka.down.add(EVENTS)
    one.submit(events(4))
    rig.turn(20, 0.1)
    assert one.session.rewinds - before >= 2


def test_a_topic_that_fails_does_not_hold_up_other_sessions_or_checkpoints(rig: Rig) -> None:
    """Only what stands behind the record that does not get through waits."""
    one, other = rig.open(), rig.open(OTHER)
    rig.kafka.down.add(TOOLS)
    one.submit(events(1) + events(2, name="tool_call") + events(3))
    other.submit(events(1, 2))
    rig.turn(50)
    assert one.acknowledged == one.position._replace(sequence=1, last_event_id="1")
    assert other.acknowledged == other.position
    rig.sender().write_checkpoint()
    rig.turn(20)
    assert one.checkpoints.written == one.acknowledged


def test_a_producers_end_changes_no_number(rig: Rig) -> None:
    """What was lost on the way is sent again as it was; a consumer drops what had arrived all the same."""
    one = rig.open()
    one.submit(events(1, 2, 3))
    epoch = one.position.epoch
    rig.producers[0].fail()
    rig.turn(100)
    assert {record.number for record in rig.records(EVENTS)} == {(epoch, 1), (epoch, 2), (epoch, 3)}
    assert one.position == Position(epoch, 3, "3")
    assert len(rig.producers) == 4, "one new set: for events and for checkpoints"


def test_skipped_events_hold_neither_the_window_nor_the_bytes_behind_them(rig: Rig) -> None:
    """They are acknowledged from the start, and passed when what stands behind them is, without the timer's help."""
    one = rig.open()
    one.submit(events(1, name="skipped") + events(2))
    rig.turn(20)
    assert rig.delivery.sessions.budget.held == 0
    assert one.session.pending == 0
    assert one.acknowledged == one.position == Position(one.position.epoch, 1, "2")


def test_a_full_queue_of_the_client_delays_and_loses_nothing(rig: Rig) -> None:
    """The record waits in memory, with those behind it, and goes when there is room."""
    one = rig.open()
    rig.kafka.capacity = 0
    one.submit(events(1, 2))
    rig.turn(20)
    assert rig.records(EVENTS) == []
    rig.kafka.capacity = 1
    rig.turn(50)
    assert sequences(rig.records(EVENTS)) == [1, 2]


def test_an_end_in_the_middle_of_trouble_is_written_last(rig: Rig) -> None:
    """The session is settled only when its checkpoint says that it has ended."""
    one = rig.open()
    rig.kafka.down |= {EVENTS, CHECKPOINTS}
    one.submit(events(1))
    one.end(ENDED)
    rig.turn(50)
    assert not one.is_settled
    rig.kafka.heal()
    rig.turn(2000)
    assert one.is_settled
    closed = rig.delivery.sessions.close(LOCAL)
    assert closed is not None
    assert (closed.state, closed.position) == ("ended", one.position)


@pytest.mark.parametrize("is_recreated", [False, True])
def test_a_checkpoint_that_is_written_again_behind_the_end_says_that_too(rig: Rig, *, is_recreated: bool) -> None:
    """Otherwise the next owner would attach to the session, and announce its end a second time."""
    one = rig.open()
    one.submit(events(1))
    one.end(ENDED)
    rig.turn(100)
    assert one.is_settled
    before = checkpoints(rig)
    if is_recreated:
        rig.delivery.rewrite_checkpoints(1)
    else:
        rig.delivery.sessions.write_again(LOCAL)
    assert not one.is_settled  # at once: a shard that is being released waits for it
    assert rig.sender().write_checkpoint()
    rig.turn(100)
    assert checkpoints(rig) == before + 1
    closed = rig.delivery.sessions.close(LOCAL)
    assert closed is not None
    assert closed.state == "ended"


def test_a_session_without_a_position_has_nothing_to_write_to_a_new_topic(rig: Rig) -> None:
    """Its server has not answered yet. The release of its shard must not wait for a checkpoint that never comes."""
    one = rig.delivery.open(LOCAL, Encoder(RULES, LOCAL), "", None, alone())
    rig.delivery.rewrite_checkpoints(1)
    assert one.is_settled


def test_a_session_that_is_opened_after_its_topic_was_created_again_is_written_to_it(rig: Rig) -> None:
    """Its checkpoint was restored from the old topic: without this, a restart would find no position of it."""
    rig.open().submit(events(1))
    rig.turn(20)
    rig.sender().write_checkpoint()
    rig.turn(20)
    restored = rig.delivery.sessions.close(LOCAL)
    rig.delivery.rewrite_checkpoints(1)
    before = checkpoints(rig)
    one = rig.delivery.open(LOCAL, Encoder(RULES, LOCAL), "", restored, alone())
    assert not one.is_settled
    rig.turn(20)
    rig.sender().write_checkpoint()
    rig.turn(20)
    assert one.is_settled
    assert checkpoints(rig) == before + 1


def test_an_end_before_any_epoch_says_nothing(rig: Rig) -> None:
    """There is no position to write."""
    one = rig.delivery.open(LOCAL, Encoder(RULES, LOCAL), "", None, alone())
    one.end(ENDED)
    rig.turn(5)
    assert one.is_settled
    assert rig.delivery.sessions.close(LOCAL) is None


def test_a_new_epoch_begun_while_a_refusal_is_sorted_out_stands_above_its_epoch(rig: Rig) -> None:
    """Two reasons for a new epoch at once: both are checkpointed before their first record, in rising order."""
    one = rig.open()
    first = one.position.epoch
    rig.kafka.limits[EVENTS] = 400
    one.submit(events(1, size=3000))
    one.begin_epoch(OverlapWindow.starting("1"))
    begun = one.position.epoch
    rig.sender()._needs_epoch = True
    one.submit(events(2))
    rig.turn(300)
    assert first < begun < one.position.epoch
    assert [record.number for record in rig.records(EVENTS)] == [(one.position.epoch, 1)]
    assert one.acknowledged == one.position == Position(one.position.epoch, 1, "2")


def test_a_refused_checkpoint_is_written_again(rig: Rig) -> None:
    """And not counted before it is taken."""
    one = rig.open()
    one.submit(events(1))
    rig.turn(20)
    rig.kafka.down.add(CHECKPOINTS)
    rig.sender().write_checkpoint()
    rig.turn(20)
    assert one.checkpoints.written != one.acknowledged
    rig.kafka.heal()
    rig.sender().write_checkpoint()
    rig.turn(20)
    assert one.checkpoints.written == one.acknowledged == one.position
    assert one.checkpoints.count == rig.delivery.sessions.checkpoints_written == 2


def test_nothing_follows_a_first_record_before_its_answer(rig: Rig) -> None:
    """Kafka takes any first number of a producer it does not know: behind a refused first batch others would get in."""
    one = rig.open()
    producer = rig.producers[0]
    one.submit(events(1, 2, 3))
    rig.delivery._resend()
    assert sum(map(len, producer._queued.values())) == 1
    rig.turn(50)
    assert sequences(rig.records(EVENTS)) == [1, 2, 3]
    one.submit(events(4, 5))
    assert sum(map(len, producer._queued.values())) == 2, "from then on they go straight to the producer"


def test_a_producer_is_introduced_once_in_a_partition(rig: Rig) -> None:
    """Not once per session: another one with a key of the same partition goes straight to the producer."""
    one = rig.open()
    one.submit(events(1))
    rig.turn(50)
    place = partition_of(LOCAL.record_key, PARTITIONS[EVENTS])
    keys = [SessionKey("local", f"other {number}") for number in range(20)]
    same = next(key for key in keys if partition_of(key.record_key, PARTITIONS[EVENTS]) == place)
    other = next(key for key in keys if partition_of(key.record_key, PARTITIONS[EVENTS]) != place)
    for key, queued in ((same, 2), (other, 0)):
        one = rig.open(key)
        before = sum(map(len, rig.producers[0]._queued.values()))
        one.submit(events(1, 2))
        assert sum(map(len, rig.producers[0]._queued.values())) == before + queued


def test_added_partitions_are_followed_only_when_nothing_is_in_flight(rig: Rig) -> None:
    """Otherwise a later record could be written to another partition, although an earlier one was refused."""
    one = rig.open()
    one.submit(events(1))
    rig.turn(50)
    rig.kafka.partitions[EVENTS] = 16
    rig.counts.update(rig.kafka.partitions)
    one.submit(events(2, 3))
    (before,) = (place for place, queue in rig.producers[0]._queued.items() if queue)
    rig.delivery.renew_clients("partitions were added")
    rig.turn(100)
    assert one.acknowledged == one.position
    assert [understand(as_read(each, 0)).sequence for each in rig.kafka.logs[before]] == [1, 2, 3], (
        "a lost one would go to another partition"
    )
    one.submit(events(4))
    rig.turn(50)
    assert before != (EVENTS, partition_of(LOCAL.record_key, 16)), "the test needs another key"
    assert [record.number[1] for record in rig.records(EVENTS)][-1] == 4
    assert rig.kafka.logs[EVENTS, partition_of(LOCAL.record_key, 16)], "the new number of partitions counts now"


def test_an_idle_producer_is_introduced_again(rig: Rig) -> None:
    """Kafka forgets a producer that was idle for a day; the publisher forgets it earlier."""
    one = rig.open()
    one.submit(events(1))
    rig.turn(50)
    rig.clock.now += 3700
    one.submit(events(2, 3))
    assert sum(map(len, rig.producers[0]._queued.values())) == 0
    rig.turn(50)
    assert sequences(rig.records(EVENTS)) == [1, 2, 3]


def test_an_acknowledgement_of_an_idle_session_does_not_make_the_producer_unknown(rig: Rig) -> None:
    """The time of an introduction is that of the report, not that of the session's last answer."""
    one, other = rig.open(), rig.open(_key_beside(LOCAL))
    one.submit(events(1))
    rig.turn(50)
    for at in (1, 2, 3):
        rig.turn(450, seconds=4.0)
        other.submit(events(at))
        rig.turn(50)
    one.submit(events(2))
    rig.turn(50)
    before = sum(map(len, rig.producers[0]._queued.values()))
    one.submit(events(3, 4))
    assert sum(map(len, rig.producers[0]._queued.values())) == before + 2


def _key_beside(key: SessionKey) -> SessionKey:
    """Another session with the same partition of the events topic."""
    place = partition_of(key.record_key, PARTITIONS[EVENTS])
    keys = (SessionKey("local", f"other {number}") for number in range(100))
    return next(each for each in keys if partition_of(each.record_key, PARTITIONS[EVENTS]) == place)


def test_an_id_too_long_to_be_kept_is_no_position(rig: Rig) -> None:
    """It would fit into no header and no checkpoint: what resumes from here begins a new epoch."""
    one = rig.open()
    long = events(1)[0]._replace(id="x" * 9000, last_event_id="x" * 9000)
    one.submit([long])
    rig.turn(50)
    assert not sendable(one.position.last_event_id)
    assert one.acknowledged == one.position


def test_one_checkpoint_at_a_time(rig: Rig) -> None:
    """While Kafka owes an answer about one, newer ones wait: the next says all."""
    one = rig.open()
    one.submit(events(1))
    rig.sender().session.in_flight.acknowledged = one.position
    rig.sender().write_checkpoint()
    rig.sender().session.in_flight.acknowledged = one.position._replace(sequence=2)
    rig.sender().write_checkpoint()
    assert sum(map(len, rig.producers[1]._queued.values())) == 1


def test_a_crash_between_a_refusal_and_its_new_epoch_hides_nothing(rig: Rig) -> None:
    """Kafka refuses a record, takes the next, and the process is killed before the new epoch is checkpointed."""
    one = rig.open()
    restored = one.checkpoints.checkpoint
    rig.kafka.limits[EVENTS] = 400
    one.submit(events(1, size=3000))
    rig.producers[0]._live(20)
    one.submit(events(2))
    rig.producers[0]._live(20)
    rig.kafka.heal()
    again = Rig(rig.clock)
    again.kafka = rig.kafka
    again.producers[0].kafka = rig.kafka
    second = again.delivery.open(LOCAL, Encoder(RULES, LOCAL), "", restored, alone())
    second.submit(events(1, size=3000) + events(2))
    again.turn(50)
    follower = Follower()
    for record in rig.records(EVENTS):
        follower.take(record.record)
    assert {at_of(seen.data) for seen in follower.accepted} == {1, 2}


def test_nothing_gets_behind_a_record_that_the_client_itself_does_not_take(rig: Rig) -> None:
    """Kafka knows of no gap then: a crash would hide the record behind those that got past it."""
    one = rig.open()
    rig.kafka.client_limit = 1000
    one.begin_epoch(OverlapWindow.starting("0"))  # so that all of them wait, and go from memory
    one.submit(events(1) + events(2, size=3000) + events(3, 4))
    rig.kafka.down.add(CHECKPOINTS)
    rig.turn()
    rig.kafka.down.clear()
    for _ in range(200):
        rig.turn(1, 0.1)
        assert sequences(rig.records(EVENTS)) in ([], [1]) or sequences(rig.records(DEAD)) == [2]
    assert sequences(rig.records(EVENTS)) == [1, 3, 4]


def test_a_finished_producer_is_not_tried_again_and_again(rig: Rig) -> None:
    """While a new one is not yet due, what waits in memory stays there."""
    one = rig.open()
    rig.delivery._replace_at = rig.clock.now + 5
    rig.producers[0].fatal = "broken"
    one.submit(events(*range(1, 50)))
    rig.turn(100, 0.04)
    assert one.session.rewinds <= 5
    rig.turn(100, 0.1)
    assert one.acknowledged == one.position


# Leases


class Membership:
    """Proves membership when the test says so."""

    def __init__(self) -> None:
        self.proven_at = float("-inf")
        self.asked = 0

    def ask(self) -> None:
        self.asked += 1

    def prove(self, since: float, is_over: Callable[[], bool]) -> bool:  # noqa: ARG002 - the protocol's
        raise AssertionError("the delivery thread must not wait")


def test_a_new_epoch_waits_for_a_proof_of_membership(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was paused, and has a successor, would hide what the successor numbers in the old epoch."""
    monkeypatch.setattr(lease_module, "monotonic", rig.clock.monotonic)
    membership = Membership()
    lease = Lease(0, membership)
    lease.fencing_token = 77
    membership.proven_at = rig.clock.now + 60
    one = rig.open(lease=lease)
    membership.proven_at = rig.clock.now - 60
    before = one.position.epoch
    rig.kafka.down.add(EVENTS)
    rig.sender()._needs_epoch = True
    one.submit(events(1))
    rig.turn(50)
    rig.kafka.heal()
    assert membership.asked
    assert one.position.epoch == before
    membership.proven_at = rig.clock.now
    rig.turn()
    assert one.position.epoch > before
    rig.turn(50, 0.5)
    assert one.acknowledged != one.position  # the proof was too old for the mark by the time it could go
    membership.proven_at = rig.clock.now + 60
    rig.turn(50)
    assert one.acknowledged == one.position
    closed = rig.delivery.sessions.close(LOCAL)
    assert closed is not None
    assert closed.fencing_token == 77


def test_after_a_stand_nothing_is_handed_over_before_a_proof(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark that got through before the stand would open an epoch that hides what a successor numbers."""
    monkeypatch.setattr(lease_module, "monotonic", rig.clock.monotonic)
    membership = Membership()
    membership.proven_at = rig.clock.now + 60
    one = rig.open(lease=Lease(0, membership))
    rig.turn()
    membership.proven_at = rig.clock.now
    rig.turn(1, 6.0)
    rig.turn()
    one.submit(events(1))
    rig.turn(20)
    assert rig.records(EVENTS) == []
    assert membership.asked
    membership.proven_at = rig.clock.now
    rig.turn(20)
    assert len(rig.records(EVENTS)) == 1


@pytest.mark.parametrize("leaves", [True, False])
def test_a_revoked_session_hands_nothing_over_and_holds_no_memory(rig: Rig, *, leaves: bool) -> None:
    """Neither through the fast path nor from memory, nor a checkpoint; the other sessions continue."""
    lease = Lease(0, SoleOwner())
    one, other = rig.open(lease=lease), rig.open(OTHER, lease=Lease(1, SoleOwner()))
    rig.kafka.down.add(EVENTS)
    one.submit(events(1))
    other.submit(events(1))
    rig.turn(50)
    sender = rig.sender()
    if leaves:
        rig.delivery.leave(lease)
        assert lease.is_over
    else:
        one.revoke()
    one.announce(ENDED)
    one.begin_epoch(OverlapWindow.starting("9"))
    with pytest.raises(Stopped):
        one.submit(events(2))
    sender.session.in_flight.acknowledged = one.position
    rig.kafka.heal()
    rig.turn(100, 0.5)
    sender.write_checkpoint()
    rig.turn(50)
    assert {record.key for record in rig.records(EVENTS)} == {str(OTHER)}
    assert sum(len(log) for (name, _), log in rig.kafka.logs.items() if name == CHECKPOINTS) == 2
    assert rig.delivery.sessions.budget.held == 0
    assert rig.delivery.sessions.is_settled(0)  # nothing of it may go any more: nobody waits for it
    assert rig.delivery.sessions.is_settled(1) is False


def test_a_revoked_lease_ends_the_handover_before_the_revocation_is_reported(rig: Rig) -> None:
    """The lease is lost immediately; the sessions learn of it later."""
    lease = Lease(0, SoleOwner())
    one = rig.open(lease=lease)
    one.submit(events(1))
    rig.turn(50)
    lease.revoke()
    with pytest.raises(Stopped):
        one.submit(events(2))
    rig.turn(50)
    assert sequences(rig.records(EVENTS)) == [1]


def test_a_stale_checkpoint_of_another_process_is_answered_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compaction keeps the newest record: it must be ours, and only a proved owner writes it."""
    monkeypatch.setattr(lease_module, "monotonic", rig.clock.monotonic)
    membership = Membership()
    membership.proven_at = rig.clock.now + 10
    one = rig.open(lease=Lease(0, membership))
    membership.proven_at = rig.clock.now - 60
    rig.delivery.sessions.write_again(LOCAL)
    assert not one.is_settled
    for _ in range(5):
        rig.sender().write_checkpoint()
        rig.turn(5)
    assert checkpoints(rig) == 1
    membership.proven_at = rig.clock.now
    for _ in range(5):
        rig.sender().write_checkpoint()
        rig.turn(5)
    assert checkpoints(rig) == 2
    assert one.is_settled


def test_a_report_about_a_checkpoint_before_the_stale_one_does_not_count(rig: Rig) -> None:
    """It was sent before the stale one was seen, so it may be in front of it."""
    one = rig.open()
    one.submit(events(1))
    rig.turn(20)
    assert rig.sender().write_checkpoint()
    rig.delivery.sessions.write_again(LOCAL)
    rig.turn(20)
    assert not one.is_settled
    assert rig.sender().write_checkpoint()
    rig.turn(20)
    assert one.is_settled


def test_a_suspended_lease_purges_the_checkpoints_that_are_not_sent(rig: Rig) -> None:
    """They would be written behind those of the next owner, minutes later perhaps; resumed, they are written again."""
    lease = Lease(0, SoleOwner())
    one = rig.open(lease=lease)
    one.submit(events(1))
    rig.turn(20)
    rig.sender().write_checkpoint()
    one.announce(ENDED)
    stuck = rig.producers[1]
    assert sum(map(len, stuck._queued.values())) == 1
    lease.suspend()
    rig.turn()
    assert stuck.abandoned
    assert not rig.sender().write_checkpoint()
    rig.turn(50)
    assert checkpoints(rig) == 1
    lease.resume()
    rig.turn(50)
    rig.sender().write_checkpoint()
    rig.turn(20)
    assert checkpoints(rig) == 2
    assert one.is_settled


def test_after_a_stall_no_checkpoint_is_written_without_a_proof(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process was paused: another one may have the shard, and have begun a new epoch."""
    monkeypatch.setattr(lease_module, "monotonic", rig.clock.monotonic)
    monkeypatch.setattr(checkpoint_writer, "_CHECKPOINTS_EVERY", 0.1)
    membership = Membership()
    membership.proven_at = rig.clock.now + 10
    one = rig.open(lease=Lease(0, membership))
    before = checkpoints(rig)
    one.submit(events(1))
    while one.acknowledged != one.position:
        rig.turn(1, 0.001)
    rig.delivery._checkpoint_schedule._next_write = 0.0
    rig.turn(1, 60.0)
    rig.turn(20)
    assert checkpoints(rig) == before
    membership.proven_at = rig.clock.now
    rig.turn(20)
    assert checkpoints(rig) == before + 1


def checkpoints(rig: Rig) -> int:
    """Checkpoints in the topic."""
    return sum(len(log) for (name, _), log in rig.kafka.logs.items() if name == CHECKPOINTS)


@pytest.mark.parametrize("is_recreated", [True, False])
def test_a_producer_lost_in_a_topic_that_was_created_again_means_a_new_epoch(rig: Rig, *, is_recreated: bool) -> None:
    """Kafka accepts any first number there: a later batch may be written and an earlier one not. Else numbers stay."""
    one = rig.open()
    one.submit(events(1))
    rig.turn(30)
    before = one.position.epoch
    one.submit(events(2))
    one.submit(events(3))
    if is_recreated:
        rig.kafka.recreate(EVENTS, rig.producers)
    producer = rig.producers[0]
    (place,) = [place for place, queue in producer._queued.items() if queue]
    lost, written = producer._queued[place]
    rig.kafka.write([written], late=False) if is_recreated else rig.kafka.write([lost], late=False)
    producer._queued.clear()
    producer.fatal = "broken"
    rig.turn(100)
    assert (one.position.epoch > before) is is_recreated
    follower = Follower()
    for record in rig.records(EVENTS):
        follower.take(record.record)
    assert {at_of(seen.data) for seen in follower.accepted} == {1, 2, 3}


def test_an_unknown_answer_about_the_topics_counts_as_created_again(rig: Rig) -> None:
    """A repeat is harmless, a hidden record is not."""
    one = rig.open()
    one.submit(events(1))
    rig.turn(30)
    before = one.position.epoch
    rig.delivery._topic_ids = TopicIds({EVENTS: "first"}, lambda: None, at_once)
    one.submit(events(2))
    rig.producers[0]._queued.clear()
    rig.producers[0].fatal = "broken"
    rig.turn(100)
    assert one.position.epoch > before
    assert one.acknowledged == one.position


def test_the_latency_of_each_record_is_counted_when_kafka_has_it(rig: Rig) -> None:
    """From the read of its event on; once per batch, with the number of its records."""
    one = rig.open()
    latency = rig.delivery._durations.publish_of("local")
    read_at = rig.clock.unix_ms() - 500
    one.submit([each._replace(received_ms=read_at) for each in events(1, 2, 3)])
    assert one.session.in_flight.oldest_ms == read_at
    assert latency.snapshot().count == 0
    rig.turn(20)
    assert one.session.in_flight.oldest_ms is None
    found = latency.snapshot()
    assert found.count == 3
    assert 0.5 * 3 <= found.seconds < 1.5 * 3


def test_skipped_events_have_no_latency(rig: Rig) -> None:
    """Nothing of them goes to Kafka."""
    one = rig.open()
    one.submit(events(1, 2, name="skipped"))
    one.submit(events(3))
    rig.turn(20)
    assert one.acknowledged == one.position
    assert rig.delivery._durations.publish_of("local").snapshot().count == 1


def test_the_time_of_a_checkpoint_is_counted_when_kafka_has_it(rig: Rig) -> None:
    """The first position of a session is a checkpoint."""
    assert rig.delivery.answers.last_checkpoint_ms is None
    assert rig.delivery._durations.commit.snapshot().count == 0
    rig.open()
    assert rig.delivery.answers.last_checkpoint_ms is not None
    assert rig.delivery._durations.commit.snapshot().count == 1


def test_a_session_of_a_suspended_lease_does_not_wait_for_kafka(rig: Rig) -> None:
    """It waits for the group: the status must not report that Kafka acknowledges nothing."""
    lease = alone()
    one = rig.open(lease=lease)
    rig.turn(5)
    lease.suspend()
    one.submit(events(1))
    rig.turn(100, seconds=1.0)
    assert rig.delivery._waiting
    assert rig.delivery.waiting.seconds == 0.0
    lease.resume()
    rig.turn(50)
    assert one.acknowledged == one.position
