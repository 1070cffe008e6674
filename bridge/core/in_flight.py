"""The queue of entries that a session has submitted and Kafka has not acknowledged yet.

The design follows ``SubmittedRecords`` of Kafka Connect. Acknowledgements may arrive in any order. The acknowledged
position moves only over an unbroken run of acknowledged entries from the oldest entry on. So a checkpoint at that
position never covers more than Kafka has.

Thread rule: one thread submits; one other thread runs the delivery reports, advances and renumbers. Entries are added,
split and renumbered under the session's lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from bridge.core.entries import Announcement, Batch, CheckpointBarrier, Entry, Passed, Stage
from bridge.core.identity import Position, new_epoch
from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.stream.overlap import OverlapWindow, extended

SENT_AGAIN = LifecycleEvent(
    "resumed",
    "kafka_refused",
    "Kafka refused a record: the records after it get new numbers; some events may be repeated",
    missing=0,
)
_NEWEST_BYTES = 32 * 1024
"""Bytes, as counted for the memory budget, of passed batches that are kept to be digested together. Only the newest
ids are looked at, and a checkpoint asks for them some times a second."""


class InFlight:
    """The entries of one session that are not passed, and the position up to which everything is acknowledged."""

    __slots__ = (
        "_is_passing", "_lock", "_newest", "_newest_bytes", "_note_passed", "_overlap_window", "acknowledged",
        "entries", "length", "passed", "passed_length",
    )  # fmt: skip

    def __init__(
        self,
        acknowledged: Position | None,
        overlap_window: OverlapWindow,
        note_passed: Callable[[Batch], None] = lambda _batch: None,
    ) -> None:
        """``overlap_window``: of the stream up to ``acknowledged``; ``note_passed`` gets each batch that is passed."""
        self._note_passed = note_passed
        self.entries: deque[Entry] = deque()
        self.acknowledged = acknowledged
        """None before the first checkpoint is acknowledged: there is no position to write."""
        self.passed: dict[str, int] = {}
        """Records that are in Kafka, by topic."""
        self.length = self.passed_length = 0
        """Lengths of all entries that were ever submitted, and of those that are passed."""
        self._is_passing = False
        self._overlap_window = overlap_window  # of the stream up to the entries in ``_newest``, which passed last
        self._newest: list[Entry] = []
        self._newest_bytes = 0
        self._lock = threading.Lock()  # no thread reads a window while entries are moved into it

    def submit(self, *entries: Entry) -> None:
        """Add the newest entries (the submitting thread)."""
        for entry in entries:
            self.length += entry.length
            self.entries.append(entry)

    @property
    def is_empty(self) -> bool:
        """Everything submitted is passed, and ``acknowledged`` says so (any thread)."""
        return not self.entries and not self._is_passing

    @property
    def oldest_ms(self) -> int | None:
        """The Unix time at which the oldest event that is not passed was read; None if there is none (any thread)."""
        try:
            batch = next(entry for at in range(len(self.entries)) if isinstance(entry := self.entries[at], Batch))
        except (StopIteration, IndexError):  # entries pass meanwhile
            return None
        return batch.events[0].received_ms

    @property
    def overlap_window(self) -> OverlapWindow:
        """The window of the stream up to ``acknowledged`` (the acknowledging thread)."""
        with self._lock:
            return self._fold()

    @property
    def submitted(self) -> OverlapWindow:
        """The window of the stream up to the newest entry (the submitting thread)."""
        with self._lock:
            known, entries = self._fold(), list(self.entries)
        return _extended(known, entries)

    def overlap_window_after(self, entries: Sequence[Entry]) -> OverlapWindow:
        """The window of the stream up to the last of ``entries``, the oldest ones (the acknowledging thread)."""
        with self._lock:
            return _extended(self._fold(), entries)

    def _fold(self) -> OverlapWindow:
        if self._newest:
            self._overlap_window = _extended(self._overlap_window, self._newest)
            self._newest, self._newest_bytes = [], 0
        return self._overlap_window

    def advance(self) -> int:
        """Pass every acknowledged entry at the head; returns the bytes they held (the acknowledging thread)."""
        entries = self.entries
        if not entries or entries[0].stage is not Stage.ACKNOWLEDGED:
            return 0
        self._is_passing = True  # without it a reader could see no entries and the position before them
        freed, passed = 0, []
        with self._lock:
            while entries and entries[0].stage is Stage.ACKNOWLEDGED:
                entry = entries.popleft()
                self._newest.append(entry)
                freed += entry.size
                self.passed_length += entry.length
                if isinstance(entry, Batch):
                    self._count(entry)
                    passed.append(entry)
            self._newest_bytes += freed
            if self._newest_bytes > _NEWEST_BYTES:
                self._fold()
            self.acknowledged = entry.position
        self._is_passing = False
        for batch in passed:
            self._note_passed(batch)
        return freed

    def _count(self, batch: Batch) -> None:
        batch.listener = None
        for topic, count in batch.counts.items():
            self.passed[topic] = self.passed.get(topic, 0) + count

    def discard(self) -> None:
        """Forget all entries."""
        self.entries.clear()
        self.passed_length = self.length

    def split(self, batch: Batch, records: int) -> Batch:
        """Split a batch in its place; returns the batch of the rest."""
        tail = batch.split(records)
        if self.entries[-1] is batch:  # the submitting thread knows no other place: entries pass meanwhile
            self.entries.append(tail)
        else:
            self.entries.insert(self.entries.index(batch) + 1, tail)
        return tail

    def rewind(self, unix_seconds: int, *, new_epoch_needed: bool) -> None:
        """Make entries without a report to come ready to be sent again from memory, with new numbers if needed.

        A new epoch's barrier is at the head then, and the entries behind it carry new numbers: the caller's next
        number follows the last entry. The barrier is acknowledged before the first record with a new number is
        produced, so a crash at any point finds either the old numbering, or the new epoch's checkpoint.
        """
        for entry in self.entries:
            if entry.stage in {Stage.FAILED, Stage.REFUSED, Stage.LOST}:
                entry.stage = Stage.WAITING
            if isinstance(entry, Batch):
                entry.is_overtaken = False
        if new_epoch_needed and self.acknowledged is not None:
            epoch = new_epoch(self.acknowledged.epoch, unix_seconds)
            barrier = CheckpointBarrier(self.acknowledged._replace(epoch=epoch, sequence=0), self.overlap_window)
            self.entries.extendleft((barrier, Announcement(SENT_AGAIN, self.acknowledged, barrier)))
            self.length += 2
            _renumber(self.entries)


def plan_resend(entries: Iterable[Entry]) -> bool:
    """Whether entries with no report to come must be sent again in a new epoch.

    The numbers stay unless a later record was, or may have been, written to a topic that an earlier one has yet to
    reach: a consumer that keeps the highest number there would drop the earlier one. A gap-less producer writes nothing
    behind a refused or lost record in a partition in which it is introduced.
    """
    missing: set[str] = set()
    lost: set[str] = set()
    is_overtaken = False
    for entry in entries:
        if not isinstance(entry, Batch) or not entry.count:
            continue
        entry.settle_failures()
        topics = entry.counts.keys()
        is_overtaken = is_overtaken or entry.is_overtaken
        if entry.stage is Stage.ACKNOWLEDGED:
            is_overtaken = is_overtaken or not topics.isdisjoint(missing | lost)
        elif entry.stage is Stage.LOST:
            is_overtaken = is_overtaken or not topics.isdisjoint(missing)
            lost |= topics
        else:
            missing |= topics
    return is_overtaken


def begins_epoch(entry: Entry) -> bool:
    """The barrier of a new epoch, or its announcement."""
    if isinstance(entry, CheckpointBarrier):
        return entry.begins_epoch
    return isinstance(entry, Announcement) and entry.new_epoch is not None


def _renumber(entries: Iterable[Entry]) -> None:
    """Number everything behind the barrier at the head from 1, and each later epoch above the one before it.

    Nothing behind a later barrier was ever produced, so a higher epoch there gives no number a second meaning.
    """
    epoch = sequence = 0
    for entry in entries:
        if isinstance(entry, CheckpointBarrier) and entry.begins_epoch:
            epoch, sequence = max(entry.epoch, epoch + 1), 0
        if not epoch:  # the announcement before the first barrier follows the old numbers
            continue
        if isinstance(entry, Batch):
            entry.renumber(epoch, sequence)
            sequence = entry.sequence
        else:
            entry.epoch, entry.sequence = epoch, sequence


class _Backwards:
    """The events of entries, newest first. Only as many are taken as the overlap window looks at."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries

    def __iter__(self) -> Iterator[Passed]:
        return iter(list(reversed(self))[::-1])

    def __reversed__(self) -> Iterator[Passed]:
        for entry in reversed(self._entries):
            if isinstance(entry, Batch):
                yield from entry.backwards()


def _extended(known: OverlapWindow, entries: Sequence[Entry]) -> OverlapWindow:
    """The window after these entries: a barrier holds its own."""
    for at in range(len(entries) - 1, -1, -1):
        entry = entries[at]
        if isinstance(entry, CheckpointBarrier):
            return extended(entry.overlap_window, _Backwards(entries[at + 1 :]))
    return extended(known, _Backwards(entries))
