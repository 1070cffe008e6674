"""Distributions of durations: how often something took how long. The buckets are those of a Prometheus histogram."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

PUBLISH_BOUNDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0)
"""Seconds from the read of an event to its acknowledgement: a broker nearby answers in 3 ms, an outage lasts longer."""
RECONNECT_BOUNDS = (0.5, 2.0, 10.0, 60.0, 300.0)
"""Few, because they exist for each server: a dropped connection comes back within 2 s, a restarted server in 10 s."""
COMMIT_BOUNDS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
RESTORE_BOUNDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0, 600.0)


@dataclass(frozen=True, slots=True)
class Distribution:
    """The counts of one histogram at one moment."""

    bounds: tuple[float, ...]
    """Upper bounds in seconds, rising; the last bucket has none."""
    counts: tuple[int, ...]
    """One per bucket, not cumulative."""
    seconds: float

    @classmethod
    def none(cls, bounds: tuple[float, ...]) -> Distribution:
        """Without any observation."""
        return cls(bounds, (0,) * (len(bounds) + 1), 0.0)

    @property
    def count(self) -> int:
        """All observations."""
        return sum(self.counts)


NO_RECONNECTS = Distribution.none(RECONNECT_BOUNDS)
NO_COMMITS = Distribution.none(COMMIT_BOUNDS)
NO_RESTORES = Distribution.none(RESTORE_BOUNDS)


class Histogram:
    """Counts durations by bucket. Thread rule: any thread.

    Its cost is one lock and one search among ten bounds, about half a microsecond: observe once per batch, not once per
    event.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._seconds = 0.0
        self._lock = threading.Lock()

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count one duration, ``times`` times. A negative one, after a step of the wall clock, counts as none."""
        seconds = max(seconds, 0.0)
        bucket = bisect_left(self._bounds, seconds)
        with self._lock:
            self._counts[bucket] += times
            self._seconds += seconds * times

    def snapshot(self) -> Distribution:
        """The counts so far."""
        with self._lock:
            return Distribution(self._bounds, tuple(self._counts), self._seconds)


@dataclass(frozen=True, slots=True)
class DurationsSnapshot:
    """The distributions of delivery and shards at one moment."""

    publish: Mapping[str, Distribution] = field(default_factory=dict)
    commit: Distribution = NO_COMMITS
    restore: Distribution = NO_RESTORES


class Durations:
    """The histograms of delivery and shards. Thread rule: any thread."""

    def __init__(self, servers: Iterable[str] = ()) -> None:
        """``servers``: those that are to have a histogram from the start."""
        self._publish = {name: Histogram(PUBLISH_BOUNDS) for name in servers}
        self.commit = Histogram(COMMIT_BOUNDS)
        """Of a transaction; at least once: from the production of a checkpoint to its acknowledgement."""
        self.restore = Histogram(RESTORE_BOUNDS)
        """From the assignment of a shard to the start of its sessions."""

    def publish_of(self, server: str) -> Histogram:
        """From the read of an event of this server to its acknowledgement by Kafka."""
        return self._publish.setdefault(server, Histogram(PUBLISH_BOUNDS))

    def snapshot(self) -> DurationsSnapshot:
        """All counts so far."""
        publish = {name: each.snapshot() for name, each in tuple(self._publish.items())}
        return DurationsSnapshot(publish, self.commit.snapshot(), self.restore.snapshot())
