"""Where a session resumes after the owners of its shard changed, also when a former owner still wrote. Pure.

A process that was paused, or cut off from Kafka, may write a checkpoint after another process took its shard: a
**stale write**. Consumers keep the highest epoch they have seen. A stale write with a higher epoch than the owner's
therefore means that consumers may have dropped the owner's records from the first record of that epoch on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bridge.core.records.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class Restored:
    """Where a session resumes."""

    checkpoint: Checkpoint
    """Its epoch is the highest that anybody wrote."""
    is_stale: bool
    """A process wrote that was no longer the owner: the session must start a new epoch."""


@dataclass(frozen=True, slots=True)
class CheckpointHistory:
    """The result of all checkpoint records of one key, in order of their offsets."""

    last: Checkpoint | None = None
    """The last checkpoint by an owner or by a command."""
    highest: Checkpoint | None = None
    """The checkpoint with the highest epoch and sequence, whoever wrote it."""
    is_stale: bool = False
    """There is a stale write that no later owner is known to have read."""
    safe: Checkpoint | None = None
    """The last checkpoint before a stale owner's higher epoch could make consumers drop the new owner's records."""
    stale_offset: int = -1

    def after(self, checkpoint: Checkpoint, offset: int, *, is_stale: bool) -> CheckpointHistory:
        """The history including the next checkpoint."""
        highest = self.highest
        if highest is None or checkpoint.position[:2] >= highest.position[:2]:
            highest = checkpoint
        # An owner that did not yet know of a command's checkpoint: numbers never return to an epoch that was left.
        is_below = self.last is not None and checkpoint.position.epoch < self.last.position.epoch
        if is_stale or is_below:
            return replace(self._with_stale(checkpoint, offset), highest=highest, is_stale=True)
        if self._is_settled_by(checkpoint):
            return CheckpointHistory(checkpoint, highest)
        return replace(self, last=checkpoint, highest=highest)

    def is_newer_than(self, fencing_token: int) -> bool:
        """Whether the last checkpoint is by a later owner than the one with this token."""
        return self.last is not None and (self.last.fencing_token or 0) > fencing_token

    def _with_stale(self, checkpoint: Checkpoint, offset: int) -> CheckpointHistory:
        # If nobody else started an epoch above the writer's, consumers have seen everything up to this checkpoint.
        base = self._base
        continues = base is None or (self.highest is base and _are_of_one_writer(base, checkpoint))
        if continues and self.last is not None and checkpoint.position.epoch == self.last.position.epoch:
            return replace(self, last=checkpoint)
        if continues:
            return replace(self, safe=checkpoint, stale_offset=offset)
        if self.last is None:
            return replace(self, stale_offset=offset)
        if self.safe is None and checkpoint.position.epoch > self.last.position.epoch:
            # Not the position of the stale write itself: consumers may have dropped its writer's records of the older
            # epoch, if the owner had started a new one before.
            return replace(self, safe=self.last, stale_offset=offset)
        return self

    def _is_settled_by(self, checkpoint: Checkpoint) -> bool:
        """Whether its writer resumed from the safe position, above all epochs.

        A higher epoch alone does not prove that: the owner may have started one for another reason.
        """
        if self.highest is None:
            return False
        knows = checkpoint.fencing_token is None or checkpoint.fencing_token >= self.stale_offset
        if self.safe is self.highest and checkpoint.position.epoch == self.highest.position.epoch:
            # If it knows them, the stale writes were its own: another process's claim lies between. If not, two owners
            # chose the same epoch, in the same second.
            return knows
        return checkpoint.position.epoch > self.highest.position.epoch and (knows or self.last is None)

    @property
    def highest_epoch(self) -> int:
        """0 without any checkpoint."""
        return 0 if self.highest is None else self.highest.position.epoch

    @property
    def _base(self) -> Checkpoint | None:
        return self.last if self.safe is None else self.safe

    @property
    def restored(self) -> Restored | None:
        """Where to resume; None without any checkpoint."""
        base = self._base
        if base is None or self.highest is None:
            return None
        epoch, sequence, _ = self.highest.position
        if epoch > base.position.epoch:
            base = replace(base, position=base.position._replace(epoch=epoch, sequence=sequence))
        return Restored(base, self.is_stale)


def _are_of_one_writer(earlier: Checkpoint, later: Checkpoint) -> bool:
    return earlier.fencing_token == later.fencing_token and earlier.position.epoch <= later.position.epoch
