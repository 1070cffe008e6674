"""One session's memory: what it has submitted and Kafka does not have yet, and where its numbering is."""

from __future__ import annotations

import threading
from collections import Counter

from bridge.clock import unix_ms
from bridge.core.durations import Histogram
from bridge.core.entries import Batch
from bridge.core.identity import Position, SessionKey
from bridge.core.in_flight import InFlight
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.encoder import Encoder
from bridge.core.stream.overlap import OverlapWindow
from bridge.delivery.budget import MemoryBudget
from bridge.delivery.lease import Lease


class Session:
    """The state that a session's worker and its delivery thread share. Its SessionPublisher owns it.

    Thread rule: the worker holds the lock for one batch, the delivery thread for one turn, no thread during a wait.
    Entries are added and produced under it; the delivery thread alone passes them.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what one session needs, given once
        self,
        key: SessionKey,
        encoder: Encoder,
        restored: Checkpoint | None,
        budget: MemoryBudget,
        lease: Lease,
        publish_latency: Histogram,
    ) -> None:
        self.key = key
        self.encoder = encoder
        self.budget = budget
        self.lease = lease
        self.skipped = self.epochs = self.rewinds = 0
        """What its delivery has done; each is written by one thread, and read by any."""
        self.dead_letters: Counter[str] = Counter()
        self.trouble: str | None = None
        """Why records do not get through at present; None when they do."""
        position = None if restored is None else restored.position
        window = OverlapWindow.starting("") if restored is None else restored.overlap_window
        self.in_flight = InFlight(position, window, self._note_passed)
        self._publish_latency = publish_latency
        self.lock = threading.Lock()
        self.epoch, self.sequence, self.last_event_id = position or Position(0, 0, "")
        """After everything submitted; a new epoch that delivery begins changes the numbers."""
        self.stopped = threading.Event()
        self.taken = self.freed = 0
        """Bytes, written by the worker and by the delivery thread."""
        self.is_revoked = False
        self.must_restart: str | None = None
        """Why it was revoked though the shard is ours: the session starts again from the stored checkpoint."""

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.sequence, self.last_event_id)

    @property
    def is_over(self) -> bool:
        """Nothing of it may ever be given to a producer again."""
        return self.is_revoked or self.lease.is_over

    @property
    def may_hand_over(self) -> bool:
        """Whether anything of it may be given to a producer now."""
        return not self.is_over and not self.lease.is_suspended

    @property
    def pending(self) -> int:
        """Events that are not acknowledged, or behind one that is not."""
        return self.in_flight.length - self.in_flight.passed_length

    @property
    def held(self) -> int:
        """Bytes."""
        return self.taken - self.freed

    def _note_passed(self, batch: Batch) -> None:
        """Observe its latency once for all its records: the events of one read have one time."""
        if batch.count:
            self._publish_latency.observe((unix_ms() - batch.events[0].received_ms) / 1000, batch.count)

    def advance(self) -> None:
        """Remove acknowledged entries at the head and free their bytes (the delivery thread)."""
        freed = self.in_flight.advance()
        if freed:
            self.budget.free(freed)
            self.freed += freed

    def discard(self, kept: int = 0) -> None:
        """Forget everything and free its bytes, but not those ``kept`` (the delivery thread, under the lock)."""
        self.in_flight.discard()
        self.budget.free(self.taken - self.freed - kept)
        self.freed = self.taken
