"""How far a session is acknowledged: submitted, acknowledged, committable (after Kafka Connect's ``SubmittedRecords``).

A watermark holds everything a session has submitted and Kafka has not yet acknowledged, in order. Acknowledgements may
come in any order; the committable position moves only over an unbroken run of acknowledged entries from the oldest on.
A checkpoint written at the committable position therefore never claims more than Kafka has.

Thread rule: one thread submits, one other thread acknowledges, advances and renumbers.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import ClassVar, Literal, NamedTuple

from bridge.core.identity import Position, new_epoch
from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow, extended


class Stage(Enum):
    """Where an entry is on its way to Kafka."""

    WAITING = auto()
    """In memory only: not yet handed to the producer, or to be handed over again."""
    IN_FLIGHT = auto()
    ACKNOWLEDGED = auto()
    FAILED = auto()
    """Not in Kafka, and not the record's fault: to be produced again."""
    LOST = auto()
    """In Kafka or not: its producer is gone. If it is not, nothing that this producer got after it is, either."""
    REFUSED = auto()
    """Kafka refused it for what it is: too large for its topic, or invalid."""


class Entry:
    """One event in its place: it must be acknowledged before a checkpoint may speak of it or of anything behind it.

    Not frozen and without a dataclass's conveniences: one is made for every event.
    """

    __slots__ = ("epoch", "event", "last_event_id", "sequence", "size", "stage", "topic")
    is_numbered: ClassVar[bool] = True
    is_barrier: ClassVar[bool] = False
    """It is produced when it is the oldest, and nothing behind it is produced before it is acknowledged."""

    def __init__(  # noqa: PLR0913, PLR0917 - all that an entry is, set once: this runs for every event
        self,
        event: Event | None,
        epoch: int,
        sequence: int,
        last_event_id: str,
        stage: Stage = Stage.WAITING,
        topic: str = "",
        size: int = 0,
    ) -> None:
        self.event = event
        self.epoch = epoch
        self.sequence = sequence
        self.last_event_id = last_event_id
        self.stage = stage
        self.topic = topic
        self.size = size

    @property
    def position(self) -> Position:
        """The position of a session that has come as far as this entry."""
        return Position(self.epoch, self.sequence, self.last_event_id)


_NEWEST_BYTES = 32 * 1024
"""Bytes, as counted for the buffer, of passed entries that are kept to be digested together: a dozen small events,
since only the newest of them is looked at, and a checkpoint a second asks for it."""
SKIP_SIZE = 256
"""Bytes a skipped event holds while it waits behind one that is not acknowledged."""


class Skip(Entry):
    """An event that is not published, or an id without an event: it moves the id and takes no number."""

    __slots__ = ()
    is_numbered = False

    def __init__(self, event: Event | None, epoch: int, sequence: int, last_event_id: str) -> None:
        size = SKIP_SIZE if event is None else SKIP_SIZE + len(event.data)
        super().__init__(event, epoch, sequence, last_event_id, Stage.ACKNOWLEDGED, size=size)


class CheckpointBarrier(Entry):
    """A checkpoint with a barrier: a session's first position, a new epoch, a doubt, or its end.

    It is produced when everything before it is acknowledged, and nothing behind it is produced before it is
    acknowledged itself. So a crash finds either the old epoch complete, or the new one announced before its first
    record.
    """

    __slots__ = ("overlap_window", "state")
    is_numbered = False
    is_barrier = True

    def __init__(
        self, position: Position, overlap_window: OverlapWindow, state: Literal["active", "ended"] = "active"
    ) -> None:
        super().__init__(None, *position)
        self.overlap_window = overlap_window
        self.state: Literal["active", "ended"] = state

    @property
    def begins_epoch(self) -> bool:
        """Whether what follows is numbered from 1."""
        return self.sequence == 0 and self.state == "active"


class Announcement(Entry):
    """A lifecycle record. A barrier as well, so that it can say: everything up to here is in Kafka."""

    __slots__ = ("lifecycle_event", "mark")
    is_numbered = False
    is_barrier = True

    def __init__(
        self, lifecycle_event: LifecycleEvent, position: Position, mark: CheckpointBarrier | None = None
    ) -> None:
        """``mark``: the new epoch that follows at once."""
        super().__init__(None, *position)
        self.lifecycle_event = lifecycle_event
        self.mark = mark

    @property
    def new_epoch(self) -> int | None:
        """The epoch that begins here: asked when it is sent, since a failure before it moves it up."""
        return None if self.mark is None or self.mark.epoch == self.epoch else self.mark.epoch


SENT_AGAIN = LifecycleEvent(
    "resumed", "kafka_refused", "Kafka did not take a record: what is behind it is numbered anew, some may come again",
    missing=0,
)  # fmt: skip


class Watermark:
    """The entries of one session that are not yet passed, and the position up to which all is acknowledged."""

    __slots__ = (
        "_is_passing",
        "_lock",
        "_newest",
        "_newest_bytes",
        "_overlap_window",
        "committable",
        "entries",
        "passed",
    )

    def __init__(self, committable: Position | None, overlap_window: OverlapWindow) -> None:
        """``recent``: the window of the stream up to ``committable``."""
        self.entries: deque[Entry] = deque()
        self._is_passing = False
        self._overlap_window = (
            overlap_window  # of the stream up to the entries that passed last, which are in ``_newest``
        )
        self._newest: list[Entry] = []
        self._newest_bytes = 0
        self._lock = threading.Lock()  # so that nobody reads a window that entries are just moving into
        self.passed: dict[str, int] = {}
        """Records that are in Kafka, by topic."""
        self.committable = committable
        """None until the first mark is acknowledged: before that there is nothing a checkpoint may say."""

    def __len__(self) -> int:
        return len(self.entries)

    def submit(self, entry: Entry) -> None:
        """Add the newest entry (the submitting thread)."""
        self.entries.append(entry)

    @property
    def is_empty(self) -> bool:
        """Everything submitted is passed, and ``committable`` says so (any thread)."""
        return not self.entries and not self._is_passing

    @property
    def overlap_window(self) -> OverlapWindow:
        """The window of the stream up to ``committable`` (the acknowledging thread)."""
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
        entries, counts = self.entries, self.passed
        freed = 0
        passed = []
        if not entries or entries[0].stage is not Stage.ACKNOWLEDGED:
            return 0
        self._is_passing = True  # who finds no entry left must not take the position before them for the last
        with self._lock:
            while entries and entries[0].stage is Stage.ACKNOWLEDGED:
                entry = entries.popleft()
                passed.append(entry)
                freed += entry.size
                if entry.is_numbered:
                    counts[entry.topic] = counts.get(entry.topic, 0) + 1
            self._newest += passed
            self._newest_bytes += freed
            if self._newest_bytes > _NEWEST_BYTES:
                self._fold()
            self.committable = passed[-1].position
        self._is_passing = False
        return freed

    def rewind(self, unix_seconds: int) -> Resend:
        """Make a window with nothing in flight ready to be sent again from memory; returns how.

        In a new epoch its mark stands at the head, and whatever is behind it carries the new numbers: the caller's next
        number follows the last entry.
        """
        plan = plan_resend(self.entries)
        for entry in self.entries:
            if entry.stage in (Stage.FAILED, Stage.REFUSED, Stage.LOST):
                entry.stage = Stage.WAITING
        if plan.new_epoch and self.committable is not None:
            epoch = new_epoch(self.committable.epoch, unix_seconds)
            mark = CheckpointBarrier(self.committable._replace(epoch=epoch, sequence=0), self.overlap_window)
            self.entries.extendleft((mark, Announcement(SENT_AGAIN, self.committable, mark)))
            _renumber(self.entries)
        return plan


class Resend(NamedTuple):
    """How to go on from memory after a failure."""

    new_epoch: bool
    """The old numbers are no longer certain to be seen: number anew."""
    alone: int
    """This many numbered entries from the head on are sent one at a time, to find the ones that Kafka refuses."""


def plan_resend(entries: Iterable[Entry]) -> Resend:
    """Decide how a window with nothing in flight is sent again.

    A refused record means a new epoch, and everything up to the last refused one goes alone: Kafka refuses a whole
    batch when one record is at fault. Without a refusal the numbers stay, unless a later record was, or may have been,
    written to a topic that an earlier one has yet to reach: a consumer that keeps the highest number there would drop
    the earlier.
    """
    missing: set[str] = set()
    lost: set[str] = set()
    overtaken = False
    alone = numbered = 0
    for entry in entries:
        if not entry.is_numbered:
            continue
        numbered += 1
        if entry.stage is Stage.REFUSED:
            alone = numbered
        if entry.stage is Stage.ACKNOWLEDGED:
            overtaken = overtaken or entry.topic in missing or entry.topic in lost
        elif entry.stage is Stage.LOST:
            overtaken = overtaken or entry.topic in missing
            lost.add(entry.topic)
        else:
            missing.add(entry.topic)
    return Resend(new_epoch=alone > 0 or overtaken, alone=alone)


def _renumber(entries: Iterable[Entry]) -> None:
    """Number everything behind the mark at the head from 1, and every later mark's epoch above the one before it.

    Nothing behind a later mark was ever produced (it is a barrier), so moving its epoch up gives no number a second
    meaning.
    """
    epoch = sequence = 0
    for entry in entries:
        if isinstance(entry, CheckpointBarrier) and entry.begins_epoch:
            epoch, sequence = max(entry.epoch, epoch + 1), 0
        elif entry.is_numbered:
            sequence += 1
            entry.stage = Stage.WAITING
        if epoch:  # the announcement before the first mark still follows the old numbers
            entry.epoch, entry.sequence = epoch, sequence


def _extended(known: OverlapWindow, passed: Sequence[Entry]) -> OverlapWindow:
    """The window after these entries: a mark says itself where the stream stands."""
    for at in range(len(passed) - 1, -1, -1):
        entry = passed[at]
        if isinstance(entry, CheckpointBarrier):
            return extended(entry.overlap_window, passed[at + 1 :])
    return extended(known, passed)
