"""At-least-once delivery against a hostile model of Kafka, judged by a consumer that follows the rule.

One run is one seed: sessions read their streams and submit, the delivery thread turns, and between any two steps topics
fail, batches are refused, producers die, and the whole process is thrown away and restored from its checkpoints.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint, decode
from bridge.core.records.encoder import Encoder
from bridge.core.records.topics import PartitionCounts, SizeLimits
from bridge.core.stream.overlap import OverlapWindow, digest
from bridge.delivery.at_least_once import AtLeastOnce
from bridge.delivery.checkpoint_writer import OwnTopics
from bridge.delivery.idempotent_sender import IdempotentSender
from bridge.delivery.lease import Lease
from bridge.delivery.producers import TopicIds
from bridge.delivery.protocol import Limits
from bridge.kafka.producer import IdempotentProducer, Role
from tests.fakes.delivery_streams import (
    CHECKPOINTS,
    DEAD,
    EVENTS,
    LARGE,
    LIFECYCLE,
    PARTITIONS,
    RESUMED,
    RULES,
    TOOLS,
    Block,
    Clock,
    Reader,
    as_read,
    at_of,
    patched_clock,
    random_stream,
    switching_often,
)
from tests.fakes.kafka_model import ModelKafka, ModelProducer, Produced, at_once
from tests.fakes.membership import SoleOwner
from tests.support.effort import EFFORT, EXAMPLES
from tests.support.rule import Follower, understand

TROUBLES = (
    "limit",
    "down",
    "at once",
    "queue",
    "client",
    "heal",
    "heal",
    "fatal",
    "late",
    "change",
    "change",
    "change",
    "mute",
)
DESCRIBED = (LARGE // 2, 100, 10**6)
"""Size limits of a topic: below the large events, below all, and above all."""


@dataclass
class World:
    """A log that outlives processes, one process at a time, and everything that goes wrong."""

    chance: random.Random
    clock: Clock
    sessions: int = 3
    length: int = 40
    max_in_flight: int = 12
    max_buffer_bytes: int = 24_000
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kafka = ModelKafka(dict(PARTITIONS), self._written, ids=dict.fromkeys(PARTITIONS, "first"))
        self.counts = PartitionCounts(self.kafka.partitions)
        self.numbers: dict[tuple[bytes, int, int], int] = {}
        self.seen: dict[bytes, set[int]] = defaultdict(set)
        self.epochs: dict[bytes, set[int]] = defaultdict(set)
        self.in_epoch: dict[tuple[bytes, int], set[int]] = defaultdict(set)
        self.latest: dict[SessionKey, Checkpoint] = {}
        self.newest: dict[SessionKey, Checkpoint] = {}
        self.announced: list[str] = []
        self.keys = [SessionKey("local", f"s{number}") for number in range(self.sessions)]
        self.streams = {key: random_stream(self.chance, self.length, invalid=2) for key in self.keys}
        self.ends = {key: self.chance.random() < 0.4 for key in self.keys}
        self.producers: list[ModelProducer] = []
        self.settings = "one"
        self.described: dict[str, int] = {}
        self.start()

    # The process

    def start(self) -> None:
        """A new process takes up what the checkpoints say."""
        self.sizes = SizeLimits(self.described)
        self.delivery = AtLeastOnce(
            self._make_producer,
            OwnTopics(CHECKPOINTS, PARTITIONS[CHECKPOINTS], LIFECYCLE, self.counts),
            self.sizes,
            TopicIds(self.kafka.ids, lambda: dict(self.kafka.ids), at_once),
            Limits(self.max_in_flight, self.max_buffer_bytes, self.chance.choice((0.0, 1.0, 600.0))),
            lambda: None,
        )
        self.newest = dict(self.latest)
        self.readers = [self._open(key) for key in self.keys]

    def _make_producer(self, role: Role) -> IdempotentProducer:
        self.producers.append(ModelProducer(self.kafka, random.Random(self.chance.random()), role))
        return cast("IdempotentProducer", self.producers[-1])

    def _open(self, key: SessionKey) -> Reader:
        known = self.latest.get(key)
        fingerprint = self.settings + RULES.fingerprint(limits=self.sizes)
        opened = self.delivery.open(key, Encoder(RULES, key), fingerprint, known, Lease(0, SoleOwner()))
        at = int(known.position.last_event_id) if known else 0
        reader = Reader(key, self.streams[key], opened, at, self.ends[key])
        if known is None or known.fingerprint != fingerprint:
            reader.begin_epoch(at)
        return reader

    def crash(self) -> None:
        """Nothing is left but the log; what is on the wire arrives at once or never."""
        for producer in [each for each in self.producers if not each.abandoned]:
            producer.fail(is_crash=True)
        self.kafka.given_up.clear()
        self.producers.clear()
        if self.chance.random() < 0.2:
            self.settings += "'"
        if self.chance.random() < 0.5:
            self._change_limit()
        self.start()

    def step(self, reader: Reader) -> None:
        """Let the reader submit, unless its submit might wait for memory: the test has one thread."""
        free = self.max_in_flight - reader.publisher.session.pending - 2
        if free > 0 and self.delivery.sessions.budget.held < self.max_buffer_bytes // 2:
            reader.step(self.chance.randint(1, free))

    def turn(self) -> None:
        """The delivery thread goes round once."""
        self.clock.now += self.chance.choice((0.001, 0.03, 0.7))
        self.delivery.turn()

    # The log, as it is written

    def _written(self, record: Produced, *, late: bool) -> None:
        if record.place[0] == CHECKPOINTS:
            self._checkpoint_written(record, late=late)
            return
        if record.place[0] == LIFECYCLE:
            self._announcement_written(record)
            return
        one = understand(as_read(record, 0))
        at = at_of(one.data)
        meaning = self.numbers.setdefault((record.key, one.epoch, one.sequence), at)
        self._check(meaning == at, f"{one.id} of {one.key} means two events: {meaning} and {at}")
        self._check(one.epoch in self.epochs[record.key], f"{one.id} of {one.key} before its epoch's checkpoint")
        headers = dict(record.headers)
        is_valid = b'"invalid"' not in one.data
        if "bridge.reason" in headers and is_valid:
            reason, size = headers["bridge.reason"], int(headers["bridge.bytes"])
            is_culprit = reason == b"oversize" or (reason == b"rejected" and size > LARGE)
            self._check(is_culprit, f"{one.id} of {one.key} is a dead letter: {reason!r} with {size} bytes")
        self.seen[record.key].add(at)
        self.in_epoch[record.key, one.epoch].add(one.sequence)

    def _checkpoint_written(self, record: Produced, *, late: bool) -> None:
        checkpoint = decode(record.key, record.value)
        epoch, sequence, last_event_id = checkpoint.position
        known = self.latest.get(checkpoint.key)
        if known is None or epoch >= known.position.epoch:  # as bridge.admin.checkpoints.topic restores
            self.latest[checkpoint.key] = checkpoint
        if not late:
            self.newest[checkpoint.key] = checkpoint
        stream = self.streams[checkpoint.key]
        claimed = {at for at, block in enumerate(stream, 1) if at <= int(last_event_id) and block.is_published}
        self._check_overlap_window(stream, last_event_id, checkpoint.overlap_window)
        self._check(claimed <= self.seen[record.key], f"{checkpoint} claims events {claimed - self.seen[record.key]}")
        missing = set(range(1, sequence + 1)) - self.in_epoch[record.key, epoch]
        self._check(not missing, f"{checkpoint} claims numbers {missing}")
        self.epochs[record.key].add(epoch)

    def _announcement_written(self, record: Produced) -> None:
        envelope = json.loads(record.value)
        epoch, sequence = map(int, envelope["sequence"].split(":"))
        missing = set(range(1, sequence + 1)) - self.in_epoch[record.key, epoch]
        self._check(not missing, f"{envelope} says that numbers are in Kafka which are not: {missing}")
        self._check(epoch in self.epochs[record.key] or not sequence, f"{envelope} before its epoch's checkpoint")
        new = envelope["data"].get("new_epoch")
        self._check(new is None or int(new) > epoch, f"{envelope}: an epoch that does not rise")
        self.announced.append(envelope["type"])

    def _check_overlap_window(self, stream: list[Block], last_event_id: str, overlap_window: OverlapWindow) -> None:
        """The window ends with the last event and begins behind the one before it."""
        events = [block.event(at) for at, block in enumerate(stream[: int(last_event_id)], 1) if block.name]
        if overlap_window.digests:
            known = [event for event in events if int(overlap_window.after) < int(event.last_event_id)]
            self._check(overlap_window.digests == b"".join(map(digest, known)), f"{overlap_window} at {last_event_id}")
            self._check(
                overlap_window.cursor == events[-1].last_event_id, f"{overlap_window} ends before {last_event_id}"
            )

    def _check(self, holds: bool, what: str) -> None:  # noqa: FBT001 - an assertion that callbacks may make
        if not holds:
            self.violations.append(what)

    # What goes wrong

    def trouble(self) -> None:
        """One thing goes wrong, or right again."""
        chance, kafka = self.chance, self.kafka
        topic = chance.choice([EVENTS, TOOLS, DEAD, CHECKPOINTS, LIFECYCLE])
        with kafka.lock:
            match chance.choice(TROUBLES):
                case "limit":
                    kafka.limits[topic] = 150 if topic == CHECKPOINTS else 400
                case "down":
                    chance.choice((kafka.down.add, kafka.lose_leader))(topic)
                case "at once":
                    kafka.refused_at_once.add(topic)
                case "queue":
                    kafka.capacity = chance.choice((0, 1, 5))
                case "client":
                    kafka.client_limit = 1000
                case "change":
                    self.chance.choice((self._recreate, self._grow, self._describe))(topic)
                case "heal":
                    kafka.heal()
                case "fatal" | "mute" as fault:
                    living = chance.choice([each for each in self.producers if not each.abandoned])
                    living.fail() if fault == "fatal" else setattr(living, "is_mute", True)
                case _:
                    for producer in list(kafka.given_up):
                        producer.arrive_late()

    def _change_limit(self) -> None:
        """A topic accepts larger, or only smaller, records: some events change between record and dead letter."""
        self.described = {**self.described, self.chance.choice((EVENTS, TOOLS)): self.chance.choice(DESCRIBED)}

    def _describe(self, _topic: str) -> None:
        """The bridge reads a changed limit."""
        self._change_limit()
        self.sizes.update(self.described)

    def _recreate(self, topic: str) -> None:
        """Delete a topic and create it again; half the time the producer ends before Kafka knows it there again."""
        self.kafka.recreate(topic, self.producers)
        events = next(each for each in reversed(self.producers) if each.role is Role.EVENTS)
        if self.chance.random() < 0.5 and not events.abandoned:
            events.fail()

    def _grow(self, topic: str) -> None:
        """Add a partition; the bridge notices it, and does not at once follow."""
        if topic not in {CHECKPOINTS, LIFECYCLE} and self.kafka.partitions[topic] < 2 * PARTITIONS[topic]:
            self.kafka.partitions[topic] += 1
            self.counts.update(self.kafka.partitions)
            self.delivery.renew_clients("a partition was added")

    def run(self, steps: int, *, trouble: float, crash: float) -> None:
        """Take this number of random steps."""
        for _ in range(steps):
            dice = self.chance.random()
            if dice < crash:
                self.crash()
            elif dice < crash + trouble:
                self.trouble()
            elif dice < 0.3:
                self.turn()
            else:
                self._read()
            assert not self.violations

    def _read(self) -> None:
        reader = self.chance.choice(self.readers)
        if not reader.ended and self.chance.random() < 0.02:
            reader.publisher.announce(RESUMED)
        if not reader.ended and self.chance.random() < 0.01:
            reader.begin_epoch(self.chance.randint(max(0, reader.at - 5), reader.at))
        else:
            self.step(reader)

    def settle(self, turns: int = 3000) -> None:
        """All is well from now on: everything must get through."""
        self.kafka.heal()
        for _ in range(turns):
            for reader in self.readers:
                if not reader.is_done:
                    self.step(reader)
            self.turn()
            assert not self.violations
            if all(reader.is_done for reader in self.readers) and not self.delivery.sessions.unsettled:
                return
            self.delivery.stop()  # from the first turn on: the timer of the checkpoints does not matter then
        stuck = [(str(r.key), r.at, len(r.stream), vars_of(self.delivery._senders[r.key])) for r in self.readers]
        raise AssertionError(f"stuck: {stuck}")

    # The judgement

    def judge(self) -> None:
        """What a consumer that follows the rule has seen, when all has come to rest."""
        follower = Follower()
        for log in self.kafka.logs.values():
            for offset, record in enumerate(log):
                if record.place[0] not in {CHECKPOINTS, LIFECYCLE}:
                    follower.take(as_read(record, offset))
        accepted = follower.by_key()
        for key in self.keys:
            places: dict[tuple[str, int, int], list[int]] = defaultdict(list)
            for one in accepted.get(str(key), ()):
                places[one.record.topic, one.record.partition, one.epoch].append(at_of(one.data))
            wanted = {at for at, block in enumerate(self.streams[key], 1) if block.is_published}
            got = set(itertools.chain.from_iterable(places.values()))
            assert got == wanted, f"{key}: lost {wanted - got}"
            for place, order in places.items():
                assert order == sorted(set(order)), f"{key} in {place}: {order}"
            self._judge_end(key)
        assert self.delivery.sessions.budget.held == 0

    def _judge_end(self, key: SessionKey) -> None:
        reader = next(each for each in self.readers if each.key == key)
        checkpoint = self.newest[key]  # an older one that a dead producer left may stand behind it: it costs a repeat
        epoch, sequence, last_event_id = checkpoint.position
        assert reader.publisher.position == checkpoint.position, key
        assert last_event_id == str(len(reader.stream))
        assert self.in_epoch[key.record_key, epoch] == set(range(1, sequence + 1))
        assert checkpoint.state == ("ended" if reader.ended else "active")
        closed = self.delivery.sessions.close(key)
        assert closed is not None
        assert closed == replace(checkpoint, updated_ms=closed.updated_ms)


def vars_of(sender: IdempotentSender) -> dict[str, object]:
    """What one wants to know of a session that is stuck."""
    session = sender.session
    entries = [
        (type(each).__name__, each.stage.name, each.epoch, each.sequence, each.produced, each.reported)
        for each in session.in_flight.entries
    ]
    known = {"entries": entries[:5], "acknowledged": session.in_flight.acknowledged, "trouble": session.trouble}
    return vars(sender.handover) | known


SEEDS = st.integers(0, 2**32)


@given(seed=SEEDS)
@settings(max_examples=EXAMPLES, deadline=None)
def test_nothing_is_lost_whatever_happens(seed: int) -> None:
    """Refusals, outages, dead producers, crashes: the consumer has every event, and each number has one meaning."""
    clock = Clock()
    with patched_clock(clock):
        world = World(random.Random(seed), clock)
        world.run(400, trouble=0.06, crash=0.01)
        world.settle()
        world.judge()


@given(seed=SEEDS)
@settings(max_examples=8 * EFFORT, deadline=None)
def test_workers_and_the_delivery_thread_do_not_get_in_each_others_way(seed: int) -> None:
    """The same with a thread for each session, switched as often as Python can: only crashes are left out."""
    chance, clock = random.Random(seed), Clock()
    with patched_clock(clock), switching_often():
        world = World(chance, clock, length=400, max_in_flight=40, max_buffer_bytes=40_000)
        threads = [threading.Thread(target=hand_over, args=(one, random.Random(seed + 1))) for one in world.readers]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            world.turn()
            if chance.random() < 0.01:
                world.trouble()
            world.clock.now += 1
        world.settle()
        world.judge()


def hand_over(reader: Reader, chance: random.Random) -> None:
    """A worker's thread: submit the whole stream, with a new epoch from time to time."""
    while not reader.is_done:
        if chance.random() < 0.005:
            reader.begin_epoch(max(0, reader.at - 3))
        reader.step(chance.randint(1, 30))
