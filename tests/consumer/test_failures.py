"""Exceptions of the store, the body and the client in the loop over events: no event is lost or counted twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import pytest

from bridge.consumer import Event, Events, Place
from tests.consumer.records import record
from tests.fakes.kafka_consumer import TOPIC, Database, ScriptedConsumer, TransactionalStore

NUMBERS = (1, 2, 3)


class Scene:
    """One process of the consumer; the faults raise once each, at the first step of their name."""

    def __init__(self, database: Database, *faults: str, **options: Any) -> None:
        self.faults = list(faults)
        self.body: Callable[[Event], object] = lambda _: None
        """More of the user's work on an event."""
        self.store = TransactionalStore(database, self._fault)
        self.consumer = ScriptedConsumer([record(number) for number in NUMBERS], database, self._fault)
        ticks = count()
        made = {"store": self.store, "commit_interval": 0, "idle_timeout": 9, "clock": lambda: float(next(ticks))}
        self.events = Events(self.consumer, [TOPIC], **{**made, **options})  # type: ignore[arg-type]

    def _fault(self, step: str) -> None:
        if step in self.faults:
            self.faults.remove(step)
            raise OSError(step)

    def process(self) -> None:
        for event in self.events:
            self.store.pending.append(event.sequence)
            self.body(event)


def assert_refused(scene: Scene) -> None:
    """A new loop raises, and nothing is saved by any way."""
    scene.store.rollback()
    for way in (scene.process, scene.events.commit):
        with pytest.raises(RuntimeError, match="create a new consumer and a new Events"):
            way()
    scene.consumer.rebalance()
    scene.events.on_lost(scene.consumer, [])  # type: ignore[arg-type]
    assert scene.store.pending == []


def assert_complete(database: Database) -> None:
    """A new process finishes, and each event has its result once."""
    Scene(database).process()
    assert [int(each[-12:]) for each in database.results] == list(NUMBERS)


@pytest.mark.parametrize("interval", [0, 1000])
@pytest.mark.parametrize("fault", ["save", "saved", "load"])
def test_after_an_error_of_the_store_nothing_is_saved_or_committed(fault: str, interval: int) -> None:
    """The database has rolled the results back; a second save of the sequences alone would lose them for good."""
    database = Database()
    scene = Scene(database, fault, commit_interval=interval)
    with pytest.raises(OSError, match=fault):
        scene.process()
    assert database.offset == 0
    assert_refused(scene)
    assert database.offset == 0
    assert_complete(database)


def test_an_error_of_the_store_that_the_body_passes_over_ends_the_loop() -> None:
    """The body calls `commit` itself."""
    database = Database()
    scene = Scene(database, "save", commit_interval=None)

    def body(_event: Event) -> None:
        with pytest.raises(OSError, match="save"):
            scene.events.commit()

    scene.body = body
    with pytest.raises(RuntimeError, match="its store raised"):
        scene.process()
    assert_complete(database)


def test_an_error_of_the_store_while_partitions_are_revoked_is_final() -> None:
    """Before a rebalance the sequences are saved too."""
    database = Database()
    scene = Scene(database, "save", commit_interval=1000)
    scene.consumer.rebalances_at = 2
    with pytest.raises(OSError, match="save"):
        scene.process()
    assert_refused(scene)
    assert_complete(database)


def test_after_an_exception_with_a_store_a_new_loop_is_refused() -> None:
    """The caller has rolled back everything since the last save, and the events before the failed one are in it."""
    database = Database()
    scene = Scene(database, commit_interval=1000)
    scene.body = lambda event: 1 // (event.number - 2)
    with pytest.raises(ZeroDivisionError):
        scene.process()
    scene.store.rollback()
    scene.body = lambda _: None
    with pytest.raises(RuntimeError, match="its last loop was left by an exception or break"):
        scene.process()
    assert (database.results, database.offset) == ([], 0)
    assert_complete(database)


def test_another_iterator_is_refused_while_one_holds_an_event() -> None:
    """Its results may be half written."""
    scene = Scene(Database())
    holder = iter(scene.events)
    next(holder)
    with pytest.raises(RuntimeError, match="its last loop was left"):
        next(iter(scene.events))


def test_after_break_and_commit_a_new_loop_continues() -> None:
    """The user said that the event is processed."""
    database = Database()
    scene = Scene(database)
    for event in scene.events:
        scene.store.pending.append(event.sequence)
        break
    scene.events.commit()
    scene.process()
    assert [int(each[-12:]) for each in database.results] == list(NUMBERS)


def test_a_batch_that_an_exception_dropped_is_not_skipped() -> None:
    """Without a store too: a new loop would begin with the failed event, and `commit` would include the others."""
    database = Database()
    scene = Scene(database, store=None, commit_interval=None)
    scene.body = lambda event: 1 // (event.number - 2)
    with pytest.raises(ZeroDivisionError):
        scene.process()
    with pytest.raises(RuntimeError, match="its last loop was left"):
        scene.process()


def test_with_an_event_in_hand_whose_partition_is_revoked_nothing_is_committed() -> None:
    """As the consumer's `close` does: the next owner has the event again."""
    database = Database()
    scene = Scene(database)
    for event in scene.events:
        scene.store.pending.append(event.sequence)
        break
    scene.consumer.rebalance()
    assert_refused(scene)
    assert_complete(database)


@pytest.mark.parametrize("store", ["in memory", "own"])
def test_an_interrupted_read_ends_the_object(store: str) -> None:
    """The client drops a record that it has read when a signal's handler raises: a new loop would skip it."""
    database = Database()
    scene = Scene(database, **({"store": None} if store == "in memory" else {}))
    scene.body = lambda _: scene.faults.append("polled")
    with pytest.raises(OSError, match="polled"):
        scene.process()
    assert database.offset == 1
    with pytest.raises(RuntimeError, match="interrupted"):
        scene.process()


def test_the_loop_does_not_end_with_an_event_that_was_not_yielded() -> None:
    """A slow store takes longer than ``idle_timeout``; `commit` would then declare the event as processed."""
    database, now = Database(), [0.0]
    scene = Scene(database, idle_timeout=1, clock=lambda: now[0])

    def slow_load(topic: str, partition: int) -> Mapping[Place, str]:
        now[0] += 100
        return TransactionalStore.load(scene.store, topic, partition)

    scene.store.load = slow_load  # type: ignore[method-assign]
    event = next(iter(scene.events))
    assert event.number == 1
