"""A model: exceptions, crashes and rebalances at every step of the loop; each event has its result exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.consumer import Events
from tests.consumer.records import record
from tests.fakes.kafka_consumer import TOPIC, Database, ScriptedConsumer, TransactionalStore
from tests.support.effort import EXAMPLES

SENT = [(1, "a"), (2, "a"), (1, "c"), (2, "a"), (3, "a"), (3, "a"), (2, "c"), (1, "a"), (4, "a"), (3, "c")]
RECORDS = [record(number, session=session) for number, session in SENT]
EXPECTED = [f"{session} {number}" for number, session in dict.fromkeys(SENT)]
CHOICES = [*["continue"] * 12, "raise", "raise", "interrupt", "crash", "rebalance", "commit", "break", "break, commit"]


class Crash(BaseException):
    """The process is killed: it calls nothing more."""


class Process:
    """One process of the consumer. Each step takes the next choice; without any it continues."""

    def __init__(self, database: Database, choices: Iterator[str], interval: float | None) -> None:
        self._choices, self._interval = choices, interval
        self._is_dead = False
        self._ticks = count()
        self._store = TransactionalStore(database, self._step)
        self._consumer = ScriptedConsumer(RECORDS, database, self._step)
        self._events = Events(
            self._consumer,  # type: ignore[arg-type]
            [TOPIC],
            store=self._store,
            commit_interval=interval,
            idle_timeout=12,
            clock=lambda: float(next(self._ticks)),
        )

    def _step(self, name: str) -> None:
        choice = "crash" if self._is_dead else next(self._choices, "continue")
        if choice == "crash":
            self._is_dead = True
            raise Crash
        if choice == "raise":
            raise KafkaException(KafkaError(KafkaError._FAIL)) if name == "commit" else OSError(name)
        if choice == "interrupt":
            raise KeyboardInterrupt
        if choice == "rebalance" and name == "poll" and self._interval is not None:
            self._consumer.rebalance()

    def run(self) -> bool:
        """The user's program: after an exception it rolls back and loops again, until that is refused."""
        while True:
            try:
                if self._loop():
                    self._events.commit()
                    return True
            except (Crash, RuntimeError):
                return False
            except (OSError, KafkaException, KeyboardInterrupt):
                self._store.rollback()

    def _loop(self) -> bool:
        for event in self._events:
            self._store.pending.append(f"{event.session} {event.number}")
            choice = next(self._choices, "continue")
            if choice in {"raise", "interrupt"}:
                raise OSError("body")
            if choice in {"commit", "break, commit"}:
                self._events.commit()
            if choice in {"break", "break, commit"}:
                return False
        return True


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a crash at the end of a loop
@settings(max_examples=10 * EXAMPLES, deadline=None)
@given(st.lists(st.sampled_from(CHOICES), max_size=150), st.sampled_from([0, 7, None]))
def test_each_event_has_its_result_exactly_once(choices: list[str], interval: float | None) -> None:
    """Wherever the steps of store, body and client fail, and whichever object the user continues with."""
    database, remaining = Database(), iter(choices)
    while not Process(database, remaining, interval).run():
        pass
    assert database.results == EXPECTED
    assert database.offset == len(RECORDS)
