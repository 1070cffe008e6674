"""The end of an idempotent or transactional producer, and its questions to Kafka."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bridge.kafka.producer import IdempotentProducer, ProducerSettings, Role
from bridge.kafka.transactional import TransactionalProducer, TransactionTimeouts
from tests.support.waiting import wait_until

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


def test_only_the_topics_of_the_bridge_must_have_leaders(monkeypatch: pytest.MonkeyPatch) -> None:
    """One partition of somebody else without a leader must not hide a stuck client."""

    def topic(*leaders: int) -> SimpleNamespace:
        return SimpleNamespace(partitions={at: SimpleNamespace(leader=leader) for at, leader in enumerate(leaders)})

    producer = IdempotentProducer(SETTINGS, Role.CHECKPOINTS)
    found = SimpleNamespace(topics={"own": topic(1, 2), "other": topic(1, -1)})
    monkeypatch.setattr(producer, "_producer", SimpleNamespace(list_topics=lambda **_: found))
    assert producer.has_leaders({"own", "missing"}, 1.0)
    assert not producer.has_leaders({"own", "other"}, 1.0)
