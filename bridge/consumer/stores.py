"""Where a consumer keeps the highest sequences, so that repeats are dropped across its own restarts too."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from os import PathLike
from typing import Protocol

from bridge.consumer.rule import Place, Rule


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
