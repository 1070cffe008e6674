"""Exactly-once delivery against a hostile model of Kafka's transactions, judged by a reader of committed records.

One run is one seed: sessions read their streams and submit, the shards' threads turn, and between any two steps topics
fail or fall silent, answers get lost, requests arrive late, transactions grow too old, and the whole process is thrown
away, or lives on as a zombie beside its successor.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import inf
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bridge.clock import Backoff, monotonic
from bridge.core.identity import Position, SessionKey, partition_of
from bridge.core.records.checkpoint import Checkpoint, decode
from bridge.core.records.encoder import Encoder
from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.records.topics import SizeLimits
from bridge.core.stream.overlap import OverlapWindow
from bridge.delivery import exactly_once, handover, shard_senders, shard_thread, transactional_id
from bridge.delivery.budget import MemoryBudget
from bridge.delivery.checkpoint_writer import OwnTopics
from bridge.delivery.exactly_once import ExactlyOnce
from bridge.delivery.lease import Lease
from bridge.delivery.protocol import Limits
from bridge.delivery.publisher import SessionPublisher
from bridge.delivery.shard_thread import ShardThread
from bridge.errors import SettingsError, Stopped
from bridge.kafka.producer import IdempotentProducer
from bridge.kafka.transactional import TransactionalProducer
from tests.fakes.delivery_streams import (
    CHECKPOINTS,
    DEAD,
    EVENTS,
    LARGE,
    LIFECYCLE,
    PARTITIONS,
    RULES,
    TOOLS,
    Block,
    Clock,
    Reader,
    at_of,
    random_stream,
)
from tests.fakes.transactions_model import ModelTransactionalProducer, ModelTransactions, Sent
from tests.support.effort import EXAMPLES
from tests.support.rule import understand
from tests.support.topics import Read

SHARDS = PARTITIONS[CHECKPOINTS]


@contextmanager
def patched_clock(clock: Clock) -> Iterator[None]:
    """Delivery looks at this clock, waits for nothing, and keeps its log to itself."""
    with capture_logs(), pytest.MonkeyPatch.context() as patch:
        for module in (shard_thread, shard_senders, handover, transactional_id, exactly_once):
            patch.setattr(module, "monotonic", clock.monotonic)
        patch.setattr(handover, "unix_ms", clock.unix_ms)
        patch.setattr(MemoryBudget, "wait", _not_waited)
        for module, name in ((shard_thread, "_IDLE"), (shard_senders, "_LOOK")):
            patch.setattr(module, name, 0.0)
        patch.setattr(transactional_id, "_BACKOFF", Backoff(0.0, 0.0))
        patch.setattr(transactional_id, "_FENCES", 10**6)
        yield


def _not_waited(_budget: MemoryBudget, _has_budget: object, _stopped: object, at_most: float | None = None) -> None:
    assert at_most is not None, "nobody would end this wait: the test has one thread"


class Member:
    """Whether a process is in the group, which now and then answers late."""

    def __init__(self, chance: random.Random) -> None:
        self.is_in = True
        self._chance = chance

    @property
    def proven_at(self) -> float:
        return monotonic() if self.is_in and self._chance.random() < 0.6 else -inf

    def ask(self) -> None:
        """Nothing to be done."""

    def prove(self, since: float, is_over: Callable[[], bool]) -> bool:
        del since
        return self.is_in and not is_over()


class Process:
    """One process's delivery, of all shards, whose threads the test turns."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.member = Member(random.Random(world.chance.random()))
        self.leases = [Lease(shard, self.member) for shard in range(SHARDS)]
        self.announced = 0
        self.number = world.processes = world.processes + 1
        interval = world.chance.choice((0.05, 0.5))
        limits = Limits(world.max_in_flight, world.max_buffer_bytes, transaction_interval=interval)
        self.delivery = ExactlyOnce(
            self._make,
            lambda: cast("IdempotentProducer", None),
            OwnTopics(CHECKPOINTS, SHARDS, LIFECYCLE),
            SizeLimits(),
            limits,
            world.reclaim,
            lambda: None,
        )
        for lease in self.leases:
            shard = self.delivery._shards[lease.shard] = self._shard(lease, limits)
            shard._producer = shard._acquired()
        self.readers = [self._open(key) for key in world.keys]

    def _shard(self, lease: Lease, limits: Limits) -> ShardThread:
        return ShardThread(
            lease, lambda: self._make(lease.shard), limits, self.delivery.sessions.budget,
            reclaim=self.world.reclaim, ready=lambda: None, answered=lambda: None,
        )  # fmt: skip

    def _make(self, shard: int) -> TransactionalProducer:
        made = ModelTransactionalProducer(self.world.kafka, shard, random.Random(self.world.chance.random()))
        return cast("TransactionalProducer", made)

    def _open(self, key: SessionKey) -> Reader:
        known = self.world.latest.get(key)
        lease = self.leases[partition_of(key.record_key, SHARDS)]
        opened = self.delivery.open(key, Encoder(RULES, key), "", known, lease)
        if known is None:
            opened.begin_epoch(OverlapWindow.starting("0"))
        at = int(known.position.last_event_id) if known else 0
        ended = known is not None and known.state == "ended"
        return Reader(key, self.world.streams[key], opened, at, self.world.ends[key], ended)

    def turn(self) -> None:
        """One shard's thread goes round once."""
        shard = self.world.chance.choice(list(self.delivery._shards.values()))
        assert shard._producer is not None
        shard.turn()

    def read(self) -> None:
        """Let one reader submit, unless its submit might wait for memory: the test has one thread."""
        reader = self.world.chance.choice(self.readers)
        if not reader.ended and self.world.chance.random() < 0.05:
            self.announced += 1
            reader.publisher.announce(LifecycleEvent("resumed", "replay_proved", f"{self.number}.{self.announced}"))
        free = self.free(reader)
        if free:
            reader.step(self.world.chance.randint(1, free))

    def free(self, reader: Reader) -> int:
        """So many blocks may be handed over without any wait."""
        free = self.world.max_in_flight - reader.publisher.session.pending
        return max(0, free) if self.delivery.sessions.budget.held < self.world.max_buffer_bytes // 2 else 0


@dataclass
class World:
    """A log that outlives processes, one owner at a time, zombies, and everything that goes wrong."""

    chance: random.Random
    clock: Clock
    sessions: int = 4
    length: int = 40
    max_in_flight: int = 12
    max_buffer_bytes: int = 24_000
    violations: list[str] = field(default_factory=list)
    processes: int = 0

    def __post_init__(self) -> None:
        self.kafka = ModelTransactions(dict(PARTITIONS), self._committed, self.clock)
        self.seen: dict[bytes, list[int]] = defaultdict(list)
        self.rejected: set[tuple[bytes, int]] = set()
        self.latest: dict[SessionKey, Checkpoint] = {}
        self.since: dict[int, dict[SessionKey, Checkpoint]] = defaultdict(dict)
        self.announced: list[str] = []
        self.keys = [SessionKey("local", f"s{number}") for number in range(self.sessions)]
        self.streams = {key: random_stream(self.chance, self.length) for key in self.keys}
        self.ends = {key: self.chance.random() < 0.4 for key in self.keys}
        self.zombies: list[Process] = []
        self.process = Process(self)

    def reclaim(self, lease: Lease) -> Mapping[SessionKey, Checkpoint]:
        """What was written into the shard's partition since it was last claimed."""
        return self.since.pop(lease.shard, {})

    # The log, as it becomes visible

    def _committed(self, records: list[Sent]) -> None:
        touched = set()
        for record in records:
            match record.place[0]:
                case "m.checkpoints":
                    checkpoint = decode(record.key, record.value)
                    self.latest[checkpoint.key] = self.since[record.place[1]][checkpoint.key] = checkpoint
                case "m.lifecycle":
                    self.announced.append(record.value.decode())
                case _:
                    self._event_committed(record)
            touched.add(record.key)
        for key in touched:
            self._check_position(key)

    def _event_committed(self, record: Sent) -> None:
        one = understand(Read(*record.place, 0, record.key, record.value, record.headers, 0))
        at = at_of(one.data)
        mine = self.seen[record.key]
        mine.append(at)
        # Over all topics of a session nothing is ordered but by the number; here each has its place in the stream.
        numbers = {place: number for number, place in enumerate(self._published(record.key), 1)}
        self._check(numbers[at] == one.sequence, f"{one.id} of {one.key!r} is event {at}, which is {numbers[at]}")
        self._check(mine.count(at) == 1, f"event {at} of {one.key!r} is there twice")
        if "bridge.reason" in dict(record.headers):
            self.rejected.add((record.key, at))
            self._check(
                len(self._block(record.key, at).data) > LARGE, f"{at} of {one.key!r} is no culprit, and rejected"
            )

    def _check_position(self, key: bytes) -> None:
        """A transaction moves the position to exactly where its records end."""
        checkpoint = next((each for each in self.latest.values() if each.key.record_key == key), None)
        if checkpoint is None:
            self._check(False, f"records of {key!r} without any position")  # noqa: FBT003 - what is checked failed
            return
        upto = int(checkpoint.position.last_event_id)
        wanted = [at for at in self._published(key) if at <= upto]
        self._check(sorted(self.seen[key]) == wanted, f"{checkpoint.position}: {sorted(self.seen[key])} is there")
        self._check(checkpoint.position.sequence == len(wanted), f"{checkpoint.position} after {len(wanted)} records")

    def _published(self, key: bytes) -> list[int]:
        stream = next(stream for each, stream in self.streams.items() if each.record_key == key)
        return [at for at, block in enumerate(stream, 1) if block.is_published]

    def _block(self, key: bytes, at: int) -> Block:
        return next(stream for each, stream in self.streams.items() if each.record_key == key)[at - 1]

    def _check(self, holds: bool, what: str) -> None:  # noqa: FBT001 - an assertion that callbacks may make
        if not holds:
            self.violations.append(what)

    # What goes wrong

    def trouble(self) -> None:
        """One thing goes wrong, or right again."""
        chance, kafka = self.chance, self.kafka
        topic, shard = chance.choice([EVENTS, TOOLS, DEAD, CHECKPOINTS, LIFECYCLE]), chance.randrange(SHARDS)
        match chance.choice(
            ("limit", "down", "stuck", "client", "unknown", "repeat", "heal", "heal", "expire", "late")
        ):
            case "limit":
                kafka.limits[topic] = 150 if topic == CHECKPOINTS else 1000
            case "down":
                kafka.down.add(topic)
            case "stuck":
                kafka.stuck.add(topic)
            case "client":
                kafka.client_limit = 1000
            case "unknown":
                kafka.unknown = 0.5
            case "repeat":
                kafka.repeated = 0.5
            case "heal":
                kafka.heal()
            case "expire":
                kafka.expire(shard)
            case _:
                kafka.arrive(shard)

    def end_process(self) -> None:
        """The process is gone, or is a zombie from now on; a new one takes its shards."""
        if self.chance.random() < 0.6:
            self.process.member.is_in = False
            self.zombies.append(self.process)
        self.since.clear()  # it reads all
        self.process = Process(self)

    def run(self, steps: int, *, trouble: float, crash: float) -> None:
        """Take this number of random steps."""
        for _ in range(steps):
            dice = self.chance.random()
            if dice < crash:
                self.end_process()
            elif dice < crash + trouble:
                self.trouble()
            elif dice < 0.35:
                self._turn(self.process)
            elif dice < 0.45 and self.zombies:
                self._haunt(self.chance.choice(self.zombies))
            else:
                self.process.read()
            assert not self.violations, self.violations[:3]

    def _turn(self, process: Process) -> None:
        self.clock.now += self.chance.choice((0.001, 0.03, 0.7))
        process.turn()

    def _haunt(self, zombie: Process) -> None:
        try:
            zombie.read()
            self._turn(zombie)
        except Stopped:
            self.zombies.remove(zombie)

    def settle(self, turns: int = 4000) -> None:
        """All is well from now on: everything must get through."""
        self.kafka.heal()
        process = self.process
        for turn in range(turns):
            for reader in process.readers:
                if not reader.is_done and process.free(reader):
                    reader.step(process.free(reader))
            self._turn(process)
            assert not self.violations, self.violations[:3]
            if (
                turn > 100
                and all(reader.is_done for reader in process.readers)
                and not process.delivery.sessions.unsettled
            ):
                return
        stuck = [(str(r.key), r.at, len(r.stream), _vars_of(process, r.key)) for r in process.readers]
        raise AssertionError(f"stuck: {stuck}")

    def judge(self) -> None:
        """What a reader of committed records has seen, when all has come to rest."""
        for key in self.keys:
            assert sorted(self.seen[key.record_key]) == self._published(key.record_key), key
            positions = [self.latest[key].position, self._reader(key).publisher.position]
            assert positions[0] == positions[1]
            assert self.latest[key].state == ("ended" if self._reader(key).ended else "active")
        for place, log in self.kafka.logs.items():
            if place[0] in {EVENTS, TOOLS, DEAD}:
                self._judge_order(log)
        assert len(self.announced) == len(set(self.announced))
        assert self.process.delivery.sessions.budget.held == 0

    def _judge_order(self, log: list[Sent]) -> None:
        places: dict[bytes, list[int]] = defaultdict(list)
        for record in log:
            one = understand(Read(*record.place, 0, record.key, record.value, record.headers, 0))
            places[record.key].append(one.sequence)
        for key, order in places.items():
            assert order == sorted(set(order)), f"{key!r}: {order}"

    def _reader(self, key: SessionKey) -> Reader:
        return next(each for each in self.process.readers if each.key == key)


def _vars_of(process: Process, key: SessionKey) -> dict[str, object]:
    publisher = next(each.publisher for each in process.readers if each.key == key)
    sender = process.delivery._shards[publisher.session.lease.shard].senders._senders[key]
    entries = [(type(each).__name__, each.stage.name, each.sequence) for each in sender.session.in_flight.entries]
    return vars(sender.handover) | {"entries": entries[:5], "trouble": sender.session.trouble}


@given(seed=st.integers(0, 2**32))
@settings(max_examples=EXAMPLES // 2, deadline=None)
def test_each_event_is_there_exactly_once_whatever_happens(seed: int) -> None:
    """Aborts, answers that are lost, late requests, old transactions, crashes, zombies: once, in order, from 1 on."""
    clock = Clock()
    with patched_clock(clock):
        world = World(random.Random(seed), clock)
        world.run(400, trouble=0.06, crash=0.01)
        world.settle()
        world.judge()


# One decision each


@pytest.fixture
def world() -> Iterator[World]:
    """A world in which nothing goes wrong by itself, with one session."""
    clock = Clock()
    with patched_clock(clock):
        world = World(random.Random(7), clock, sessions=1, length=1, max_in_flight=1000, max_buffer_bytes=10**9)
        (reader,) = world.process.readers
        reader.stream.clear()
        reader.ends = False
        yield world


def give(world: World, ats: range, size: int = 200) -> SessionPublisher:
    """Events of the world's one session, handed over."""
    (reader,) = world.process.readers
    reader.stream += [Block("agent", f'{{"at": {at}, "pad": "{"x" * size}"}}') for at in ats]
    reader.step(len(ats))
    return reader.publisher


def settle(world: World, seconds: float = 30.0) -> None:
    """Turn until all is in Kafka."""
    end = world.clock.now + seconds
    while world.process.delivery.sessions.unsettled:
        world.clock.now += 0.01
        world.process.turn()
        assert world.clock.now < end, "it is stuck"


def test_a_slow_kafka_gets_smaller_transactions(world: World) -> None:
    """One that takes longer than a transaction may would be aborted for ever: its size is halved until it fits."""
    world.kafka.rate = 3_000
    one = give(world, range(1, 501))  # of 40 s
    settle(world, 300.0)
    assert world.process.delivery._shards[one.session.lease.shard]._transaction.budget < 8 * 1024 * 1024
    assert one.session.rewinds == 0, "it is nobody's fault"
    assert world.seen[one.key.record_key] == list(range(1, 501))
    assert not world.violations


def test_a_position_of_somebody_else_starts_the_session_again(world: World) -> None:
    """The outcome of records in memory is unknown: no more of them are produced."""
    one = give(world, range(1, 4))
    settle(world)
    shard = world.process.delivery._shards[one.session.lease.shard]
    world.since[shard.lease.shard][one.key] = replace(world.latest[one.key], position=Position(9 * 10**9, 1, "1"))
    give(world, range(4, 6))
    world.kafka.expire(shard.lease.shard)
    for _ in range(100):
        world._turn(world.process)
    assert one.session.must_restart is not None
    with pytest.raises(Stopped):
        give(world, range(6, 7))
    assert world.process.delivery.sessions.budget.held == 0


def test_what_a_session_held_is_free_though_its_shard_ended_before_it(world: World) -> None:
    """A thread that finds out for itself that the shard is lost ends at once; the daemon leaves later."""
    one = give(world, range(1, 100))
    delivery = world.process.delivery
    shard = delivery._shards[one.session.lease.shard]
    assert delivery.sessions.budget.held
    shard._end()
    delivery.leave(shard.lease)
    shard.senders.free_memory()
    assert delivery.sessions.budget.held == 0
    assert delivery.sessions.unsettled == 0


@pytest.mark.parametrize("is_in_transaction", [True, False])
def test_a_session_that_is_revoked_leaves_no_record_without_its_position(
    world: World, *, is_in_transaction: bool
) -> None:
    """Whoever takes it up would publish it again; what it has in the open transaction is aborted with it."""
    one = give(world, range(1, 4))
    if is_in_transaction:
        while not world.kafka.ids[world.process.delivery._shards[one.session.lease.shard].lease.shard].open:
            world.clock.now += 0.001
            world.process.turn()
    one.revoke()
    for _ in range(200):
        world._turn(world.process)
    assert not world.seen
    assert world.process.delivery.sessions.budget.held == 0


def test_a_session_on_trial_and_a_busy_one_do_not_starve_each_other(world: World) -> None:
    """The shard's other sessions continue while a topic accepts no records, and do not stop when it is tried again."""
    (one,) = world.process.readers
    shard = partition_of(one.key.record_key, SHARDS)
    keys = (SessionKey("local", f"t{number}") for number in range(100))
    key = next(key for key in keys if partition_of(key.record_key, SHARDS) == shard)
    world.streams[key] = one.stream
    other = world.process.delivery.open(key, Encoder(RULES, key), "", None, world.process.leases[shard])
    other.begin_epoch(OverlapWindow.starting("0"))
    settle(world)
    world.kafka.stuck.add(TOOLS)
    other.submit([Block("tool_call", '{"at": 1, "pad": ""}').event(1)])

    def stream(seconds: float, at: int) -> int:
        end = world.clock.now + seconds
        while world.clock.now < end:
            at += 1
            give(world, range(at, at + 1))
            for _ in range(5):
                world.clock.now += 0.04
                world.process.turn()
        return at

    published = stream(60.0, 0)
    assert other.session.pending
    assert len(world.seen[one.key.record_key]) > published * 0.9
    world.kafka.heal()
    stream(60.0, published)
    assert other.is_settled
    assert other.session.trouble is None


@pytest.mark.parametrize("is_ours", [True, False])
def test_an_own_request_with_an_unknown_outcome_is_not_a_foreign_writer(
    world: World, monkeypatch: pytest.MonkeyPatch, *, is_ours: bool
) -> None:
    """An attempt at the id that was given up may still succeed, and shut its own successor out."""
    monkeypatch.setattr(transactional_id, "_FENCES", 3)
    ours = transactional_id.TransactionalId(
        world.process.leases[0], lambda: world.process._make(0), 1.0, world.process.delivery._shards[0]._left
    )
    ours._fenced_at = deque(maxlen=3)
    if is_ours:
        ours._abandoned_at = world.clock.now
    for _ in range(2):
        ours.take(was_fenced=True)
    if is_ours:
        ours.take(was_fenced=True)
    else:
        with pytest.raises(SettingsError, match="namespace"):
            ours.take(was_fenced=True)
