"""The rule for consumers: keep the highest sequence per key and topic-partition, drop what is not above it.

A store keeps the highest sequences, so that repeats are dropped across the consumer's own restarts too.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Hashable, Mapping
from os import PathLike
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from bridge.consumer.record import Event


class Comparable(Protocol):
    """A sequence: text ``<epoch>:<number>``, or a pair of both numbers."""

    def __le__(self, other: Any, /) -> bool:  # noqa: ANN401 - of its own type
        """Whether it is not above the other one."""


P = TypeVar("P", bound=Hashable)
S = TypeVar("S", bound=Comparable)


class HighestSequences(Generic[P, S]):
    """The highest sequence of each place. Thread rule: one thread."""

    __slots__ = ("by_place",)

    def __init__(self) -> None:
        self.by_place: dict[P, S] = {}

    def raise_to(self, place: P, sequence: S) -> bool:
        """Keep the sequence if it is above the highest of its place; False means: drop the record, it is a repeat."""
        highest = self.by_place.get(place)
        if highest is not None and sequence <= highest:
            return False
        self.by_place[place] = sequence
        return True


class Place(NamedTuple):
    """What the rule compares within: the records of one session in one topic-partition."""

    topic: str
    partition: int
    key: str
    replayed: str = ""
    """The id of a replayed or lifecycle record: such records have old numbers and differ by their ids."""

    @property
    def is_lifecycle(self) -> bool:
        """Whether it is that of a lifecycle record, whose id continues behind the sequence."""
        return self.replayed.count(":") > 1


def place_of(event: Event) -> Place:
    """Return the place of an event."""
    is_apart = event.replayed or event.is_lifecycle
    return Place(event.topic, event.partition, event.key, event.id if is_apart else "")


_LIFECYCLE_IDS = 32
"""Lifecycle records of a session whose repeats are recognised: the bridge repeats only those that were in flight.
Without a limit, a program that follows the topic for months would keep the id of every record."""


class Rule(HighestSequences[Place, str]):
    """The rule for events of all topics. Thread rule: one thread."""

    __slots__ = ("_lifecycle",)

    def __init__(self) -> None:
        super().__init__()
        self._lifecycle: dict[tuple[str, int, str], deque[Place]] = {}

    def accepts(self, event: Event) -> bool:
        """Whether the event is new. Each partition's events come in the order of their offsets."""
        return self.raise_to(place_of(event), event.sequence)

    def raise_to(self, place: Place, sequence: str) -> bool:
        """As above, but only the last ids of a session's lifecycle records are kept."""
        is_new = super().raise_to(place, sequence)
        if is_new and place.is_lifecycle:
            self._keep_last(place)
        return is_new

    def _keep_last(self, place: Place) -> None:
        last = self._lifecycle.setdefault(place[:3], deque())
        last.append(place)
        if len(last) > _LIFECYCLE_IDS:
            self.by_place.pop(last.popleft(), None)

    def forget(self, topic: str, partition: int) -> None:
        """Drop what is known of a partition."""
        for known in [each for each in self._lifecycle if each[:2] == (topic, partition)]:
            del self._lifecycle[known]
        for place in [each for each in self.by_place if (each.topic, each.partition) == (topic, partition)]:
            del self.by_place[place]


class Store(Protocol):
    """Implement this for your own database. Thread rule: the thread that iterates over `Events`."""

    def load(self, topic: str, partition: int) -> Mapping[Place, str]:
        """Return what was saved for a partition."""

    def save(self, highest: Mapping[Place, str]) -> None:
        """Save these sequences durably; a saved one that is higher stays.

        It is called after your own work on all events up to these sequences, and before their offsets are committed.
        Save in the transaction of your own results, and commit both here: then each event has its effect once.
        """


class MemoryStore:
    """Keeps the sequences until the process ends. Several `Events` of one thread can share it."""

    def __init__(self) -> None:
        self._highest = Rule()

    def load(self, topic: str, partition: int) -> Mapping[Place, str]:
        """Return what was saved for a partition."""
        wanted = (topic, partition)
        return {place: text for place, text in self._highest.by_place.items() if place[:2] == wanted}

    def save(self, highest: Mapping[Place, str]) -> None:
        """Save the sequences."""
        for place, sequence in highest.items():
            self._highest.raise_to(place, sequence)


class FileStore:
    """Keeps the sequences in a SQLite file, in one table. Several processes on one machine can share it.

    ``connection``: write your own results with it, without committing them. `save` then commits them together with the
    sequences, so that a crash at any moment neither loses nor doubles an event's effect.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        """Open or create the file. Raises ``sqlite3.Error``."""
        self.connection = sqlite3.connect(path, timeout=30.0)
        with self.connection:
            self.connection.execute(
                f"CREATE TABLE IF NOT EXISTS {_TABLE} (topic TEXT, partition INTEGER, key TEXT, replayed TEXT,"
                " sequence TEXT NOT NULL, PRIMARY KEY (topic, partition, key, replayed)) WITHOUT ROWID"
            )

    def load(self, topic: str, partition: int) -> Mapping[Place, str]:
        """Return what was saved for a partition. Raises ``sqlite3.Error``."""
        found = self.connection.execute(
            f"SELECT key, replayed, sequence FROM {_TABLE} WHERE topic = ? AND partition = ?",  # noqa: S608 - a constant
            (topic, partition),
        )
        return {Place(topic, partition, key, replayed): sequence for key, replayed, sequence in found}

    def save(self, highest: Mapping[Place, str]) -> None:
        """Save the sequences and commit. Raises ``sqlite3.Error``."""
        self.connection.executemany(
            f"INSERT INTO {_TABLE} VALUES (?, ?, ?, ?, ?) ON CONFLICT DO"  # noqa: S608 - a constant
            " UPDATE SET sequence = max(sequence, excluded.sequence)",
            [(*place, sequence) for place, sequence in highest.items()],
        )
        self.connection.commit()

    def close(self) -> None:
        """Close the file; results that were not saved are rolled back."""
        self.connection.close()


_TABLE = "mix_bridge_highest"
