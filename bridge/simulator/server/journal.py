"""The simulated server's record of what it published: a bridge is verified against it.

One JSON object per line, in the order of publication::

    {"session": "…", "sequence": 1, "id": "1", "event": "content", "data": "{…}"}

``data`` is the text whose UTF-8 is exactly what a client of the stream dispatches. Data that is not UTF-8 is in
``data_base64`` instead.
"""

from __future__ import annotations

import json
import os
import tempfile
from array import array
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple


class JournalEntry(NamedTuple):
    """One published event. ``sequence`` counts the session's events from 1, independently of their ids."""

    session: str
    sequence: int
    id: str
    """The id in the event's own block; empty without one."""
    event: str
    data: bytes

    def to_line(self) -> bytes:
        fields = self._asdict()
        try:
            fields["data"] = self.data.decode()
        except UnicodeDecodeError:
            fields["data_base64"] = b64encode(fields.pop("data")).decode()
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> JournalEntry:
        fields = json.loads(line)
        data = fields["data"].encode() if "data" in fields else b64decode(fields["data_base64"])
        return cls(fields["session"], fields["sequence"], fields["id"], fields["event"], data)


class Journal:
    """An append-only file of entries with an index in memory (16 bytes per event).

    Written by one thread; ``entries`` and ``close`` may be called from any. Each append is one ``write`` to the
    operating system before it returns, so entries survive a kill -9 of the server. A file that already exists is
    refused (FileExistsError), because a journal must describe one run. Without a path it is an unnamed temporary file.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._file = _unnamed_file() if path is None else path.open("x+b", buffering=0)
        self._size = 0
        self._index: defaultdict[str, array[int]] = defaultdict(lambda: array("Q"))
        """Offset and length of each line, one after the other."""

    def append(self, entries: Sequence[JournalEntry]) -> None:
        """Write the entries to the operating system. They survive a crash of the process, not a power failure."""
        lines = [entry.to_line() for entry in entries]
        self._write_all(b"".join(lines))
        for entry, line in zip(entries, lines, strict=True):
            self._index[entry.session].extend((self._size, len(line)))
            self._size += len(line)

    def _write_all(self, content: bytes) -> None:
        remaining = memoryview(content)
        while remaining:
            remaining = remaining[self._file.write(remaining) :]

    def counts(self) -> dict[str, int]:
        """Return how many events each session has published, deleted sessions too. Only for the writing thread."""
        return {session: len(index) // 2 for session, index in self._index.items()}

    def entries(self, session: str, after: int = 0) -> Iterator[JournalEntry]:
        """Yield the session's events above sequence ``after``, as far as they are written."""
        index = self._index.get(session, array("Q"))
        for at in range(2 * after, len(index), 2):
            yield JournalEntry.from_line(os.pread(self._file.fileno(), index[at + 1], index[at]))

    def close(self) -> None:
        """Close the file; this deletes an unnamed one. Can be called twice."""
        self._file.close()


def _unnamed_file() -> IO[bytes]:
    return tempfile.TemporaryFile("w+b", buffering=0)


def read_journal(path: Path) -> dict[str, list[JournalEntry]]:
    """Return all entries of a journal file by session. An unfinished last line (a kill during a write) is left out."""
    by_session: dict[str, list[JournalEntry]] = {}
    with path.open("rb") as lines:
        for entry in (JournalEntry.from_line(line) for line in lines if line.endswith(b"\n")):
            by_session.setdefault(entry.session, []).append(entry)
    return by_session
