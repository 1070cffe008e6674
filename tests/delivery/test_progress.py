"""Slow, throttled and stuck clients: what the producers and the transactions make of them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import cast

import pytest

from bridge.delivery import producers as producers_module
from bridge.delivery import protocol, shard_senders
from bridge.delivery.budget import MemoryBudget
from bridge.delivery.producers import Producers
from bridge.delivery.protocol import Progress
from bridge.delivery.shard_senders import Flushed, Transaction
from bridge.delivery.transactional_sender import TransactionalSender
from bridge.kafka import client
from bridge.kafka.client import Throttle
from bridge.kafka.producer import IdempotentProducer, Role
from bridge.kafka.transactional import TransactionalProducer, TransactionTimeouts
from tests.fakes.delivery_streams import Clock
from tests.fakes.kafka_model import at_once
from tests.fakes.scripted_producer import ScriptedProducer

TIMEOUTS = TransactionTimeouts(transaction=60.0, flush=20.0, stuck=4.0, end=8.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (protocol, shard_senders, client, producers_module):
        monkeypatch.setattr(module, "monotonic", clock.monotonic)
    return clock


# Transactions


class SlowProducer:
    """Each flush takes its time; after some of them everything is acknowledged."""

    def __init__(self, clock: Clock, flushes: int, acknowledged: int = 1) -> None:
        self.throttle, self.fatal = Throttle(), None
        self._clock, self._left, self._step = clock, flushes, acknowledged

    def begin(self) -> None:
        """Nothing to begin."""

    def flush(self, seconds: float) -> int:
        self._clock.now += seconds
        self._left -= self._step
        return max(0, self._left)


def flushed(one: Transaction, producer: SlowProducer) -> Flushed:
    return one.flush(cast("TransactionalProducer", producer), [], TIMEOUTS.stuck, bool)


def test_a_transaction_that_takes_too_long_is_followed_by_a_smaller_one_that_may_take_longer(clock: Clock) -> None:
    """Up to what the brokers allow; a quick one makes the next larger."""
    one, largest = Transaction(0.1, TIMEOUTS), 8 * 1024 * 1024
    assert flushed(one, SlowProducer(clock, 1000)) is Flushed.SLOW
    assert (one.budget, one.timeout) == (largest // 2, 40.0)
    for _ in range(10):
        assert flushed(one, SlowProducer(clock, 1000)) is Flushed.SLOW
    assert one.budget == 64 * 1024
    assert one.timeout == pytest.approx(41.9)
    assert flushed(one, SlowProducer(clock, 100)) is Flushed.ALL
    assert one.budget == 64 * 1024
    assert flushed(one, SlowProducer(clock, 5)) is Flushed.ALL
    assert (one.budget, one.timeout) == (128 * 1024, 20.0)


def test_a_transaction_in_which_nothing_moves_is_stuck(clock: Clock) -> None:
    """Its topic may be the reason, or its first request, which takes too long on a slow connection."""
    one = Transaction(0.1, TIMEOUTS)
    began = clock.now
    assert flushed(one, SlowProducer(clock, 1000, acknowledged=0)) is Flushed.STUCK
    assert 4.0 < clock.now - began < 5.0
    assert (one.budget, one.timeout) == (4 * 1024 * 1024, 40.0)
    for _ in range(10):
        assert flushed(one, SlowProducer(clock, 1000, acknowledged=0)) is Flushed.STUCK
    assert one.budget == 64 * 1024
    assert one.timeout == pytest.approx(41.9)


def test_the_transaction_of_an_isolated_session_says_nothing_about_the_size_of_others(clock: Clock) -> None:
    """A small one that is quick would undo each step down, and one that is stuck is so for its topic."""
    one = Transaction(0.1, TIMEOUTS)
    assert flushed(one, SlowProducer(clock, 1000, acknowledged=0)) is Flushed.STUCK
    slow, sender = SlowProducer(clock, 2), cast("TransactionalSender", object())
    one.join(cast("TransactionalProducer", slow), sender, is_isolated=True)
    assert flushed(one, slow) is Flushed.ALL
    assert flushed(one, SlowProducer(clock, 1000, acknowledged=0)) is Flushed.STUCK
    assert (one.budget, one.timeout) == (4 * 1024 * 1024, 40.0)


def test_an_announced_delay_is_a_sign_of_life_unless_it_lasts_too_long(clock: Clock) -> None:
    one = Transaction(0.1, TIMEOUTS)
    delayed = SlowProducer(clock, 1000, acknowledged=0)
    delayed.throttle.until = clock.now + 10
    began = clock.now
    assert flushed(one, delayed) is Flushed.STUCK
    assert clock.now - began > 13
    delayed.throttle.until = clock.now + 30
    began = clock.now
    assert flushed(Transaction(0.1, TIMEOUTS), delayed) is Flushed.SLOW
    assert clock.now - began < 1


# Producers of at least once


class Set:
    """A set of producers, and the reasons to replace them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.made: list[ScriptedProducer] = []
        self.producers = Producers(self._make, MemoryBudget(10**6), lambda: ["own"], lambda: None, at_once)

    def _make(self, role: Role) -> IdempotentProducer:
        self.made.append(ScriptedProducer(role))
        return cast("IdempotentProducer", self.made[-1])

    def turn(self, seconds: float = 0.0, *, has_answers: bool = False, waits: bool = False) -> str | None:
        self.clock.now += seconds
        return self.producers.check_progress(self.clock.now, has_answers=has_answers, waits=waits)


@pytest.fixture
def some(clock: Clock) -> Set:
    return Set(clock)


def produce(one: Set) -> None:
    one.made[0].queue.append(("topic", cast("Callable[..., None]", SimpleNamespace())))


def test_producers_that_acknowledge_nothing_for_a_minute_are_replaced(some: Set) -> None:
    """Metadata shows leaders. If that does not help, the next replacement comes later."""
    some.turn()
    produce(some)
    some.turn()
    assert some.turn(59.0) is None
    assert "nothing was acknowledged for 61 s" in str(some.turn(2.0))
    assert some.turn(119.0) is None
    assert some.turn(2.0) is not None
    some.turn(has_answers=True)
    assert some.turn(61.0) is not None


def test_producers_without_anything_to_send_are_not_replaced(some: Set) -> None:
    """Neither while a quota delays them, nor while partitions have no leaders."""
    assert some.turn(1000.0) is None
    assert some.producers.progress.waiting.seconds == 0.0
    produce(some)
    some.made[0].throttle.until = some.clock.now + 100
    assert some.turn(90.0) is None
    assert some.producers.progress.waiting.is_throttled
    some.made[0].throttle.until = 0.0
    some.made[1].leaders = False
    assert some.turn(1000.0) is None
    some.made[1].leaders = True
    assert some.turn(5.0) is None
    assert some.turn(6.0) is not None


def test_the_delivery_thread_does_not_wait_for_the_answer_about_leaders(some: Set) -> None:
    """It delivers meanwhile, and an answer that comes after progress counts no more."""
    answers = [Future[bool](), Future[bool]()]
    asked = iter(answers)
    some.producers._start = lambda _ask: next(asked)
    some.turn()
    produce(some)
    some.turn()
    assert some.turn(61.0) is None
    assert some.turn(1.0) is None
    some.turn(has_answers=True)
    answers[0].set_result(True)
    assert some.turn(61.0) is None
    answers[1].set_result(True)
    assert some.turn() is not None


def test_what_waits_to_be_produced_is_reported_and_no_reason_for_other_producers(some: Set) -> None:
    """A topic may be missing, or the owner of a shard unknown."""
    some.turn(waits=True)
    assert some.turn(100.0, waits=True) is None
    assert some.producers.progress.waiting.seconds == 100.0


def test_nothing_waits_before_something_does(clock: Clock) -> None:
    """A shard that is being acquired has acknowledged nothing, and nothing of it waits."""
    one = Progress()
    clock.now += 100.0
    assert one.waiting.seconds == 0.0
    one.begin()
    clock.now += 40.0
    one.begin()
    assert one.waiting.seconds == 40.0
    one.note()
    clock.now += 5.0
    assert one.waiting.seconds == 5.0
    one.note(is_idle=True)
    clock.now += 5.0
    assert one.waiting.seconds == 0.0
