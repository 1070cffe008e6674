"""Records that go to another topic when they are sent again, and that a later record there would hide.

A record that Kafka refuses becomes a dead letter under its number, and other size limits of the topics move records
too. If a later record of the session is already in the new topic, a consumer that keeps the highest number there drops
the moved record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bridge.core.entries import Batch, Entry, Stage


class HighestNumbers:
    """The highest number of one session that each topic may have. Thread rule: the delivery thread."""

    def __init__(self, restored_epoch: int, dead_letters: str) -> None:
        """``restored_epoch``: an earlier process may have written any number of it to any topic."""
        self._restored_epoch = restored_epoch
        self._dead_letters = dead_letters
        self._highest: dict[str, tuple[int, int]] = {}

    def note(self, entries: Iterable[Entry]) -> None:
        """Note what was produced of these entries; what passed before has lower numbers than all that may move."""
        for entry in entries:
            if isinstance(entry, Batch) and entry.stage is not Stage.WAITING:
                number = entry.epoch, entry.sequence
                self._highest |= {topic: max(number, self._highest.get(topic, number)) for topic in entry.counts}

    def hides(self, batch: Batch, prepare: Callable[[Batch], object]) -> bool:
        """Whether a consumer might drop a record that ``prepare`` moves to another topic."""
        before = batch.counts
        prepare(batch)
        moved_to = {topic for topic, count in batch.counts.items() if count > before.get(topic, 0)}
        if any(batch.counts.get(topic, 0) < before[topic] for topic in before.keys() - {self._dead_letters}):
            moved_to.add(self._dead_letters)  # although others may have left it
        first = batch.epoch, batch.start.sequence + 1
        is_restored = batch.epoch == self._restored_epoch
        is_by_limits = batch.refusal is None
        return any(is_by_limits or is_restored or self._highest.get(topic, first) > first for topic in moved_to)
