"""What the simulated server published, written down by itself: the measure against which a bridge is proved.

One JSON object a line, in the order of publication::

    {"session": "…", "sequence": 1, "id": "1", "event": "content", "data": "{…}"}

``data`` is the text whose UTF-8 is exactly what a reader of the stream dispatches; data that is no UTF-8 is
``data_base64`` instead.
"""

from __future__ import annotations

import json
import os
import tempfile
from array import array
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple


class JournalEntry(NamedTuple):
    """One published event. ``sequence`` counts the session's events from 1, whatever their ids are."""

    session: str
    sequence: int
    id: str
    """As it stands in the event's own block; empty when there is none."""
    event: str
    data: bytes

    def to_line(self) -> bytes:
        """The entry as a line of the journal, newline included."""
        fields: dict[str, Any] = {
            "session": self.session,
            "sequence": self.sequence,
            "id": self.id,
            "event": self.event,
        }
        try:
            fields["data"] = self.data.decode()
        except UnicodeDecodeError:
            fields["data_base64"] = b64encode(self.data).decode()
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> JournalEntry:
        """The entry that ``to_line`` wrote."""
        fields = json.loads(line)
        data = fields["data"].encode() if "data" in fields else b64decode(fields["data_base64"])
        return cls(fields["session"], fields["sequence"], fields["id"], fields["event"], data)


class Journal:
    """An append-only file of entries with an index in memory (8 bytes an event).

    Written by one thread; ``entries`` and ``close`` may be called from any. Each append is one ``write`` to the
    operating system before it returns, so entries survive a kill -9 of the server. A file that already exists is
    refused (FileExistsError): two runs in one journal would prove nothing. Without a path it is an unnamed
    temporary file.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._file = _unnamed() if path is None else path.open("x+b", buffering=0)
        self._size = 0
        self._offsets: defaultdict[str, array[int]] = defaultdict(lambda: array("Q"))

    def append(self, entries: Sequence[JournalEntry]) -> None:
        """Write the entries down; on disk for the operating system, if not for a power failure, when this returns."""
        lines = [entry.to_line() for entry in entries]
        self._write_all(b"".join(lines))
        for entry, line in zip(entries, lines, strict=True):
            self._offsets[entry.session].append(self._size)
            self._size += len(line)

    def _write_all(self, content: bytes) -> None:
        remaining = memoryview(content)
        while remaining:
            remaining = remaining[self._file.write(remaining) :]

    def count(self, session: str) -> int:
        """How many events of the session were published."""
        return len(self._offsets.get(session, ()))

    def counts(self) -> dict[str, int]:
        """How many events each session has published, deleted sessions too. The writing thread's."""
        return {session: len(offsets) for session, offsets in self._offsets.items()}

    def entries(self, session: str, after: int = 0) -> Iterator[JournalEntry]:
        """The session's events above sequence ``after``, as written down so far."""
        offsets = self._offsets.get(session, array("Q"))
        for at in range(after, len(offsets)):
            yield JournalEntry.from_line(self._line_at(offsets[at]))

    def _line_at(self, offset: int) -> bytes:
        line, end, size = b"", b"", 4096
        while not end:
            piece, end, _ = os.pread(self._file.fileno(), size, offset + len(line)).partition(b"\n")
            line += piece
            size *= 2  # a line of many megabytes is not put together from thousands of pieces
        return line

    def close(self) -> None:
        """Close the file; an unnamed one is gone then. Can be called twice."""
        self._file.close()


def _unnamed() -> IO[bytes]:
    return tempfile.TemporaryFile("w+b", buffering=0)


def read_journal(path: Path) -> dict[str, list[JournalEntry]]:
    """All entries of a journal file by session, in order; an unfinished last line (a kill in mid-write) is left out."""
    by_session: dict[str, list[JournalEntry]] = {}
    with path.open("rb") as lines:
        for entry in _finished(lines):
            by_session.setdefault(entry.session, []).append(entry)
    return by_session


def _finished(lines: Iterable[bytes]) -> Iterator[JournalEntry]:
    return (JournalEntry.from_line(line) for line in lines if line.endswith(b"\n"))
