"""Idempotent and transactional producers: their end, their questions to Kafka, and when events linger."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bridge.clock import monotonic
from bridge.demo.embedded_kafka import EmbeddedKafka
from bridge.kafka import producer as producer_module
from bridge.kafka.producer import IdempotentProducer, Load, ProducerSettings, Role
from bridge.kafka.transactional import TransactionalProducer, TransactionTimeouts
from tests.support.waiting import TIMEOUT, wait_until

SETTINGS = ProducerSettings({"bootstrap.servers": "127.0.0.1:1"}, 1000)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Garbage is collected late in a process with large thresholds."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _client_threads() -> int:
    """Threads of librdkafka, which Python does not know."""
    return len(list(Path("/proc/self/task").iterdir())) - threading.active_count()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    "make",
    [
        lambda: IdempotentProducer(SETTINGS, Role.EVENTS),
        lambda: TransactionalProducer(SETTINGS, "one", TransactionTimeouts()),
    ],
)
def test_the_threads_of_an_abandoned_producer_end(
    make: Callable[[], IdempotentProducer | TransactionalProducer],
) -> None:
    """At once: each replacement would leave threads and connections behind, at most one a second in an outage."""
    before = _client_threads()
    producer = make()
    assert _client_threads() > before
    producer.abandon()
    wait_until(lambda: _client_threads() <= before, what="the client has ended")


def test_a_producer_that_was_abandoned_answers_nothing() -> None:
    """Another thread asks for Kafka, or gives it a new password, while the delivery thread replaces it."""
    producer = IdempotentProducer(SETTINGS, Role.CHECKPOINTS)
    producer.abandon()
    assert not producer.answers("topic", 0.1)
    assert not producer.has_leaders({"topic"}, 0.1)
    producer.set_credentials("user", "password")
    assert producer.fatal is None


class LateReports:
    """A client that reports ``outstanding`` records one by one, each to a poll that waits."""

    def __init__(self, report: Callable[[], None], outstanding: int) -> None:
        self._report = report
        self._outstanding = outstanding

    def __len__(self) -> int:
        return self._outstanding

    def purge(self) -> None:
        """Its thread makes the reports a moment later."""

    def poll(self, timeout: float) -> int:
        if not timeout:
            return 0
        self._report()
        self._outstanding -= 1
        return 1


def test_the_reports_of_a_producer_that_ends_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fatal error comes before them: a batch that Kafka refused must not count as lost."""
    producer = IdempotentProducer(SETTINGS, Role.EVENTS)
    reports: list[str] = []
    monkeypatch.setattr(producer, "_producer", LateReports(lambda: reports.append("refused"), 2))
    producer.abandon()
    assert reports == ["refused", "refused"]


def test_only_the_topics_of_the_bridge_must_have_leaders(monkeypatch: pytest.MonkeyPatch) -> None:
    """One partition of somebody else without a leader must not hide a stuck client."""

    def topic(*leaders: int) -> SimpleNamespace:
        return SimpleNamespace(partitions={at: SimpleNamespace(leader=leader) for at, leader in enumerate(leaders)})

    producer = IdempotentProducer(SETTINGS, Role.CHECKPOINTS)
    found = SimpleNamespace(topics={"own": topic(1, 2), "other": topic(1, -1)})
    monkeypatch.setattr(producer, "_producer", SimpleNamespace(list_topics=lambda **_: found))
    assert producer.has_leaders({"own", "missing"}, 1.0)
    assert not producer.has_leaders({"own", "other"}, 1.0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_load_is_high_only_while_more_than_two_thousand_records_a_second_come() -> None:
    """It is measured over a tenth of a second, in both directions."""
    clock = Clock()
    load = Load(clock)
    seen = []
    for taken in (200, 300, 300, 200, 0):
        load.taken += taken
        clock.now += 0.125
        seen.append(load.is_high)
    assert seen == [False, True, True, False, False]


def test_a_burst_shorter_than_the_window_does_not_change_it() -> None:
    clock = Clock()
    load = Load(clock)
    load.taken += 10_000
    clock.now += 0.05
    assert not load.is_high


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    with EmbeddedKafka() as kafka:
        yield kafka.bootstrap_servers


def _seconds_to_acknowledge(bootstrap: str, linger: float | None = None, *, always_lingers: bool = False) -> float:
    config = {"bootstrap.servers": bootstrap} | ({} if linger is None else {"linger.ms": linger})
    producer = IdempotentProducer(ProducerSettings(config, 10_000), Role.EVENTS)
    producer.always_lingers = always_lingers
    reports: list[object] = []

    def produce() -> None:
        producer.produce_all([("t", b"k", b"x", [], 1, None)], lambda error, _: reports.append(error), {"t": 0})

    produce()
    producer.flush(TIMEOUT)  # the client has to connect
    assert reports == [None]
    begin = monotonic()
    produce()
    while len(reports) == 1:
        producer.poll(0.025)
    assert reports == [None, None]
    return monotonic() - begin


def test_one_event_is_sent_at_once(bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(producer_module._LINGER, Role.EVENTS, 20_000)
    assert _seconds_to_acknowledge(bootstrap) < 20


def test_an_event_lingers_if_the_settings_say_so(bootstrap: str) -> None:
    assert _seconds_to_acknowledge(bootstrap, linger=300) >= 0.3


def test_an_event_lingers_where_the_polling_thread_cannot_wake_up_for_each(
    bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(producer_module._LINGER, Role.EVENTS, 300)
    assert _seconds_to_acknowledge(bootstrap, always_lingers=True) >= 0.3
