"""Delivery with its real thread: start, stop, join, abort; and workers that wait for room."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest

from bridge.clock import monotonic
from bridge.core.identity import SessionKey
from bridge.core.records.encoder import Encoder
from bridge.core.records.record import RECORD_OVERHEAD
from bridge.core.records.topics import PartitionCounts, SizeLimits
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow
from bridge.delivery import budget as budget_module
from bridge.delivery.at_least_once import AtLeastOnce
from bridge.delivery.budget import MemoryBudget
from bridge.delivery.checkpoint_writer import OwnTopics
from bridge.delivery.lease import Lease
from bridge.delivery.producers import TopicIds
from bridge.delivery.protocol import Limits
from bridge.delivery.publisher import SessionPublisher
from bridge.errors import Stopped
from bridge.kafka.producer import IdempotentProducer
from tests.fakes.delivery_streams import CHECKPOINTS, EVENTS, LIFECYCLE, PARTITIONS, RULES, switching_often
from tests.fakes.kafka_model import ModelKafka, ModelProducer, unheard
from tests.fakes.membership import SoleOwner
from tests.support.waiting import TIMEOUT, let_pass, wait_until

KEYS = [SessionKey("local", f"s{number}") for number in range(4)]


class PatientProducer(ModelProducer):
    """Waits like a real one when there is nothing to report."""

    def poll(self, timeout: float) -> int:
        reports = sum(super(PatientProducer, self).poll(0) for _ in range(5))
        if not reports and timeout:
            let_pass(timeout)
        return reports


class Running:
    """Delivery that runs on a model of Kafka."""

    def __init__(self, *, max_in_flight: int = 10_000, max_buffer_bytes: int = 10**9, interval: float = 600.0) -> None:
        self.kafka = ModelKafka(dict(PARTITIONS), unheard)
        self.heartbeats = 0
        self.delivery = AtLeastOnce(
            lambda role: cast("IdempotentProducer", PatientProducer(self.kafka, random.Random(3), role)),
            OwnTopics(CHECKPOINTS, PARTITIONS[CHECKPOINTS], LIFECYCLE, PartitionCounts(PARTITIONS)),
            SizeLimits(),
            TopicIds({}, dict),
            Limits(max_in_flight, max_buffer_bytes, interval),
            self._heartbeat,
        )
        self.delivery.start()

    def _heartbeat(self) -> None:
        self.heartbeats += 1

    def open(self, key: SessionKey = KEYS[0]) -> SessionPublisher:
        one = self.delivery.open(key, Encoder(RULES, key), "", None, Lease(0, SoleOwner()))
        one.begin_epoch(OverlapWindow.starting("0"))
        return one

    def records(self, topic: str) -> int:
        return sum(len(log) for (name, _), log in self.kafka.logs.items() if name == topic)


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Starts deliveries, which end with the test."""
    started: list[Running] = []

    def make(**limits: float) -> Running:
        started.append(Running(**limits))  # type: ignore[arg-type]  # the names say which are whole
        return started[-1]

    yield make
    for running in started:
        running.delivery.abort()
        running.delivery.join(monotonic() + TIMEOUT)
        assert not running.delivery._thread.is_alive()


def events(count: int, *, name: str = "agent", size: int = 0) -> list[Event]:
    return [Event(name, f'"{"x" * size}"', str(at), str(at), 1_700_000_000_000) for at in range(1, count + 1)]


def test_a_stop_delivers_everything_and_writes_the_last_checkpoints(start: Callable[..., Running]) -> None:
    """Then the thread ends; asking twice changes nothing."""
    running = start()
    one = running.open()
    one.submit(events(500))
    running.delivery.stop()
    running.delivery.stop()
    assert running.delivery.join(monotonic() + TIMEOUT)
    assert running.delivery.join(monotonic())
    assert running.records(EVENTS) == 500
    assert one.checkpoints.written == one.position
    assert running.delivery.sessions.unsettled == 0
    assert running.delivery.answers.last is not None
    assert running.heartbeats > 0


def test_a_stop_waits_for_kafka_until_the_deadline_and_an_abort_does_not(start: Callable[..., Running]) -> None:
    """Undelivered sessions are reported as unsettled, and the thread can be aborted."""
    running = start()
    one = running.open()
    running.kafka.down |= set(PARTITIONS)
    one.submit(events(3))
    running.delivery.stop()
    assert not running.delivery.join(monotonic() + 0.1)
    running.delivery.abort()
    running.delivery.abort()
    assert not running.delivery.join(monotonic() + TIMEOUT)
    assert not running.delivery._thread.is_alive()
    assert running.delivery.sessions.unsettled == 1


def test_the_timer_writes_a_position_that_moved(start: Callable[..., Running]) -> None:
    """Within the interval, and only once."""
    running = start(interval=0.05)
    one = running.open()
    one.submit(events(3))
    wait_until(lambda: one.checkpoints.written == one.position, what="a checkpoint")
    before, heartbeats = running.records(CHECKPOINTS), running.heartbeats
    wait_until(lambda: running.heartbeats > heartbeats + 10)
    assert running.records(CHECKPOINTS) == before


def test_a_full_window_makes_the_worker_wait_until_half_of_it_is_free(start: Callable[..., Running]) -> None:
    """No event is dropped; the worker continues as soon as Kafka has acknowledged enough."""
    running = start(max_in_flight=100)
    one = running.open()
    running.kafka.down.add(EVENTS)
    with ThreadPoolExecutor() as workers:
        submitted = workers.submit(one.submit, events(1000))
        wait_until(lambda: one.session.pending >= 99, what="a full window")  # with the first mark, or without it
        assert not submitted.done()
        assert one.session.pending <= 100
        running.kafka.heal()
        submitted.result(TIMEOUT)
    wait_until(lambda: one.acknowledged == one.position, 20)
    assert one.position.sequence == 1000


def test_a_stop_ends_the_wait_for_room_at_once(start: Callable[..., Running]) -> None:
    """What was taken is still delivered, the rest is read again after the next start."""
    running = start(max_in_flight=10)
    one = running.open()
    running.kafka.down.add(EVENTS)
    with ThreadPoolExecutor() as workers:
        submitted = workers.submit(one.submit, events(1000))
        wait_until(lambda: one.session.pending >= 9)
        one.stop()
        with pytest.raises(Stopped):  # before Kafka takes records again
            submitted.result(TIMEOUT)
    with pytest.raises(Stopped):
        one.submit(events(1))
    running.kafka.heal()
    running.delivery.stop()
    assert running.delivery.join(monotonic() + TIMEOUT)
    assert 0 < running.records(EVENTS) <= 11
    assert one.checkpoints.written == one.position


def test_the_bytes_of_all_sessions_are_bounded(start: Callable[..., Running]) -> None:
    """However many workers submit: each exceeds by no more than it takes at once."""
    limit, size = 2_000_000, 10_000
    running = start(max_buffer_bytes=limit)
    publishers = [running.open(key) for key in KEYS]
    running.kafka.down.add(EVENTS)
    with ThreadPoolExecutor() as workers:
        submitted = [workers.submit(one.submit, events(300, size=size)) for one in publishers]
        wait_until(lambda: running.delivery.sessions.budget.held >= limit, what="a full room")
        at_once = 256 * 1024 + size + RECORD_OVERHEAD
        assert running.delivery.sessions.budget.held <= limit + len(KEYS) * at_once
        running.kafka.heal()
        for each in submitted:
            each.result(TIMEOUT)
    wait_until(lambda: running.delivery.sessions.budget.held == 0, 20, "an empty room")
    assert running.records(EVENTS) >= 300 * len(KEYS)


def test_a_stream_of_skipped_events_never_waits_for_the_timer(start: Callable[..., Running]) -> None:
    """They fill the window without holding anything: the delivery thread passes them when the worker asks."""
    running = start(max_in_flight=100)
    one = running.open()
    with ThreadPoolExecutor() as workers:
        workers.submit(one.submit, events(2000, name="skipped")).result(TIMEOUT)
    wait_until(lambda: one.position.last_event_id == "2000")
    assert one.session.skipped == 2000


def test_an_answer_of_kafka_is_noted(start: Callable[..., Running]) -> None:
    """Health looks at it."""
    running = start()
    assert running.delivery.answers.last is None
    assert running.delivery.answers.ask(1.0)
    assert running.delivery.answers.last is not None


def test_a_bug_ends_the_thread_and_is_kept(start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    """For the one who must end the process with it; the beats end too."""
    running = start()
    assert running.delivery.bug is None
    bug = ZeroDivisionError("a bug")

    def faulty(_: AtLeastOnce) -> None:
        raise bug

    monkeypatch.setattr(AtLeastOnce, "turn", faulty)
    wait_until(lambda: not running.delivery._thread.is_alive(), 5, "the end of the thread")
    assert running.delivery.bug is bug


# Room


def test_no_wake_up_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that looks and then waits is woken by what happens in between, without its look once a second."""
    monkeypatch.setattr(budget_module, "_RECHECK", 60.0)
    budget, stopped = MemoryBudget(1), threading.Event()
    rounds, reserved = 1000, []

    def work() -> None:
        for _ in range(rounds):
            budget.wait(lambda: budget.held < 1, stopped)
            reserved.append(budget.reserve(1))

    worker = threading.Thread(target=work)
    with switching_often():
        worker.start()
        end = monotonic() + 30
        while worker.is_alive() and monotonic() < end:
            if budget.held:
                budget.free(1)
                budget.wake()
    stopped.set()
    budget.wake()
    worker.join(TIMEOUT)
    assert reserved == [True] * rounds


def test_nobody_waits_for_a_worker_that_lost_the_interpreter_within_an_addition() -> None:
    """With thousands of workers in a part of a core, each would own the lock while it waits for the interpreter."""
    budget = MemoryBudget(100)
    with budget._held._lock:
        assert budget.reserve(60)
        assert not budget.reserve(10, 60)
        budget.free(10)
        budget.hold_unfinished(5)
        assert budget.held == 55
    budget.settle(60, 20)
    assert (budget.held, budget.unfinished) == (15, 5)


def test_no_byte_is_lost_when_many_workers_count_at_once() -> None:
    """A worker that finds the lock held leaves its change to the holder."""
    budget = MemoryBudget(1_000_000)

    def work() -> None:
        for size in range(2000):
            assert budget.reserve(100)
            budget.settle(100, size)
            budget.free(size)

    with switching_often(), ThreadPoolExecutor(4) as workers:
        for each in [workers.submit(work) for _ in range(4)]:
            each.result(TIMEOUT)
    assert budget.held == 0
    assert not budget._held._left


def test_an_addition_without_memory_neither_loses_its_bytes_nor_keeps_the_lock() -> None:
    """With the lock held for good, all changes would be kept, one by one, for the life of the process."""

    class Unlucky(int):
        has_failed = False

        def __radd__(self, other: int) -> int:
            if not self.has_failed:
                self.has_failed = True
                raise MemoryError
            return other + int(self)

    budget = MemoryBudget(100)
    with pytest.raises(MemoryError):
        budget.hold_unfinished(Unlucky(5))
    budget.hold_unfinished(1)
    assert budget.unfinished == 6
    assert not budget._unfinished._left


def test_a_worker_that_waits_for_hours_is_one_waiter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its own looks must leave nothing behind."""
    monkeypatch.setattr(budget_module, "_RECHECK", 0.001)
    budget, stopped = MemoryBudget(1), threading.Event()
    looks: list[int] = []

    def has_budget() -> bool:
        looks.append(len(budget._waiters))
        return False

    worker = threading.Thread(target=budget.wait, args=(has_budget, stopped))
    worker.start()
    wait_until(lambda: len(looks) > 20)
    stopped.set()
    budget.wake()
    worker.join(TIMEOUT)
    assert set(looks) == {1}
    assert not budget._waiters


def test_only_those_are_woken_that_have_room() -> None:
    """The others would look, and go back to sleep, for each record that is acknowledged."""
    budget = MemoryBudget(10)
    full, free = threading.Event(), threading.Event()
    budget._waiters |= {full: lambda: False, free: lambda: True}
    budget.wake()
    assert free.is_set()
    assert not full.is_set()


def test_records_of_many_sessions_wait_for_others(start: Callable[..., Running]) -> None:
    """A turn looks at all sessions: one for each of their records would cost more than the records."""
    running = start()
    for number in range(100):
        running.open(SessionKey("local", f"few{number}"))
    wait_until(lambda: not running.delivery._producers.events.always_lingers)
    running.open()
    wait_until(lambda: running.delivery._producers.events.always_lingers)
