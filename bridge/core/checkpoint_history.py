"""Where a session goes on after the owners of its shard have changed, whatever a former one still wrote. Pure.

A process that was paused, or cut off from Kafka, may write a checkpoint after its shard has gone to another one: a
**late** word. Consumers keep to the highest epoch they have seen. So a late word of a higher epoch than the owner's
says that from its first record on they may have dropped whatever the owner published.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bridge.core.records.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class Restored:
    """Where a session goes on."""

    checkpoint: Checkpoint
    """Its epoch is the highest that anybody wrote."""
    is_late: bool
    """Somebody wrote who was not the owner any more: go on in a new epoch."""


@dataclass(frozen=True, slots=True)
class CheckpointHistory:
    """What the words of one key come to, taken in order of their offsets."""

    good: Checkpoint | None = None
    """The last word of an owner, or of a command."""
    top: Checkpoint | None = None
    """The word with the highest epoch and sequence, whoever wrote it."""
    is_late: bool = False
    """A late word stands here whose writer's successors may not know of it."""
    visible: Checkpoint | None = None
    """The last word before an owner's records may have been hidden: all up to it has certainly been seen."""
    hidden_since: int = -1
    """The offset of the late word that may have hidden them."""

    def after(self, word: Checkpoint, offset: int, *, is_late: bool) -> CheckpointHistory:
        """With the next word."""
        top = word if self.top is None or word.position[:2] >= self.top.position[:2] else self.top
        # An owner that did not yet know of a command's word: numbers never go back to an epoch that was left.
        is_below = self.good is not None and word.position.epoch < self.good.position.epoch
        if is_late or is_below:
            return replace(self._late(word, offset), top=top, is_late=True)
        settled = self._is_settled_by(word)
        return CheckpointHistory(
            good=word,
            top=top,
            is_late=self.is_late and not settled,
            visible=None if settled else self.visible,
            hidden_since=-1 if settled else self.hidden_since,
        )

    def _late(self, word: Checkpoint, offset: int) -> CheckpointHistory:
        base = self.good if self.visible is None else self.visible
        # Nobody else has begun an epoch above its writer's: all that it says has been seen.
        goes_on = base is None or (self.top is base and _are_of_one_writer(base, word))
        if goes_on and self.good is not None and word.position.epoch == self.good.position.epoch:
            return replace(self, good=word)
        if goes_on:
            return replace(self, visible=word, hidden_since=offset)
        if self.good is None:
            return replace(self, hidden_since=offset)
        if self.visible is None and word.position.epoch > self.good.position.epoch:
            # Not the late word's own position: its records of the older epoch may have been hidden themselves, if the
            # owner had begun a new one before.
            return replace(self, visible=self.good, hidden_since=offset)
        return self

    def _is_settled_by(self, word: Checkpoint) -> bool:
        """Whether its writer went on from what is certain, above all epochs.

        A higher epoch alone does not say so: the owner may have begun one for a reason of its own.
        """
        if self.top is None:
            return False
        if self.good is not None and word.term is not None and word.term < self.hidden_since:
            return False
        if self.visible is self.top and word.position.epoch == self.top.position.epoch:
            return True  # the late words were its own: somebody's claim came between
        return word.position.epoch > self.top.position.epoch

    @property
    def restored(self) -> Restored | None:
        """Where to go on; None when there is no word."""
        base = self.good if self.visible is None else self.visible
        if base is None or self.top is None:
            return None
        if self.top.position.epoch > base.position.epoch:
            number = self.top.position
            base = replace(base, position=base.position._replace(epoch=number.epoch, sequence=number.sequence))
        return Restored(base, self.is_late)


def _are_of_one_writer(earlier: Checkpoint, later: Checkpoint) -> bool:
    return earlier.term == later.term and earlier.position.epoch <= later.position.epoch
