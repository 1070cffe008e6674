"""A consumer that follows the rule and measures the time between the events of each session."""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Self

from confluent_kafka import Message, TopicPartition

from bridge.clock import monotonic
from tests.support.rule import Follower
from tests.support.topics import as_read, partitions_of, reader
from tests.support.waiting import TIMEOUT

_AT_ONCE = 1000


class Stop(NamedTuple):
    """The longest time without a new event of a session."""

    seconds: float
    session: str
    since: float


class Sight:
    """Reads committed records as they arrive, in its own thread. Any thread may query it."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._places = [TopicPartition(topic, partition, 0) for partition in partitions_of(bootstrap, topic)]
        self._seen: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self._follower = Follower()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="sight", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(TIMEOUT)

    def last(self, session: str) -> float:
        """Return the time of the newest event; 0 before the first."""
        times = self._seen.get(session)
        return times[-1] if times else 0.0

    def longest_stop(self, since: float, until: float) -> Stop:
        """Return the longest stop of all sessions that overlaps the time from ``since`` to ``until``."""
        stops = [self._stop_of(session, since, until) for session in tuple(self._seen)]
        return max(stops, default=Stop(0.0, "", since))

    def _stop_of(self, session: str, since: float, until: float) -> Stop:
        times = self._seen[session]
        first = max(0, bisect_left(times, since) - 1)
        gaps = [
            Stop(later - at, session, at) for at, later in pairwise([*times[first : bisect_left(times, until) + 1]])
        ]
        return max(gaps, default=Stop(0.0, session, since))

    def _look(self) -> None:
        with reader(self._bootstrap, committed=True) as consumer:
            consumer.assign(self._places)
            while not self._over.is_set():
                message = consumer.poll(0.2)
                if message is not None:
                    self._note([message, *consumer.consume(_AT_ONCE, timeout=0)], monotonic())

    def _note(self, messages: Sequence[Message], now: float) -> None:
        for each in messages:
            new = self._follower.take(as_read(each)) if each.error() is None else None
            if new is not None:
                self._seen[new.key.partition("/")[2]].append(now)
