"""Events linger only while so many come that requests of many records pay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bridge.clock import monotonic
from bridge.demo.embedded_kafka import EmbeddedKafka
from bridge.kafka import producer as producer_module
from bridge.kafka.producer import IdempotentProducer, Load, ProducerSettings, Role
from tests.support.waiting import TIMEOUT


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
