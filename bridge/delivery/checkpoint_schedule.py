"""When the at-least-once delivery thread writes which checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bridge.delivery.idempotent_sender import IdempotentSender

_CHECKPOINTS_EVERY = 0.02
"""Seconds between two checkpoints of a busy session: a kill repeats what was acknowledged in half of that time on
average, and in the few milliseconds that Kafka needs for a checkpoint."""
_MOST_CHECKPOINTS = 1000
"""Checkpoints a second of all sessions: about 5 % of a core. With more busy sessions they are written less often."""


class CheckpointSchedule:
    """Writes the positions that moved, as often as that is cheap; a sweep finds those moved by skipped events alone.

    A crash repeats what was acknowledged since, under the same numbers: the interval is short to repeat little.
    Thread rule: the delivery thread.
    """

    def __init__(self, interval: float) -> None:
        """``interval``: seconds between two sweeps."""
        self._interval = interval
        self._next_write = self._next_sweep = 0.0
        self._moved: dict[IdempotentSender, None] = {}  # their position moved since it was last written

    def note_moved(self, senders: Iterable[IdempotentSender]) -> None:
        self._moved.update(dict.fromkeys(senders))

    def write_due(
        self,
        now: float,
        senders: Sequence[IdempotentSender],
        flushed: frozenset[int],
        may_write: Callable[[IdempotentSender], bool],
        *,
        is_stopping: bool,
    ) -> None:
        """Write the checkpoints that are due; those of the shards ``flushed`` are due now."""
        if now >= self._next_sweep or is_stopping:
            self._next_sweep = now + self._interval
            self.note_moved(senders)
        elif flushed:
            self.note_moved(sender for sender in senders if sender.session.lease.shard in flushed)
        elif now < self._next_write:
            return
        self._next_write = now + min(self._interval, max(_CHECKPOINTS_EVERY, len(self._moved) / _MOST_CHECKPOINTS))
        self._moved = dict.fromkeys(
            sender for sender in self._moved if not (may_write(sender) and sender.write_checkpoint())
        )
