"""Exceptions of the store, the body and the client in the loop over events: no event is lost or counted twice."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from bridge.consumer import Event, Events
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
        options = {"commit_interval": 0, "idle_timeout": 9, "clock": lambda: float(next(ticks)), **options}
        self.events = Events(self.consumer, [TOPIC], store=self.store, **options)  # type: ignore[arg-type]

    def _fault(self, step: str) -> None:
        if step in self.faults:
            self.faults.remove(step)
            raise OSError(step)

    def process(self) -> None:
        """The user's program."""
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
