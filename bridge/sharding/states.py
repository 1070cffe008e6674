"""What a process does with one shard, and what leads from one to the next: one table, walked by one test."""

from __future__ import annotations

from enum import Enum


class Stage(Enum):
    """Where a process stands with a shard that its group has assigned to it."""

    FENCING = "fencing"
    """Whoever had it before is being kept out (exactly once; at least once this passes at once)."""
    RESTORING = "restoring"
    """The claim is written; the partition is read until it comes by."""
    OWNED = "owned"
    """Its sessions are bridged here."""
    SUSPENDED = "suspended"
    """The group has expelled this process, for silence perhaps while Kafka was away: nothing is handed over before it
    is known whose the shard is, and its readers go on into memory meanwhile."""
    RETURNING = "returning"
    """Assigned again: whether anybody had it in between is read behind a new claim."""
    BLOCKED = "blocked"
    """Its checkpoints hold something that the bridge cannot go by: looked at again after a while."""
    LEAVING = "leaving"
    """Its readers stop; what they have read is delivered and checkpointed."""
    GONE = "gone"
    """Nothing of it is handed over any more."""


class Turn(Enum):
    """What happened to a shard."""

    FENCED = "nobody else can write for it any more"
    RESTORED = "the own claim came by"
    FLAWED = "the own claim came by, behind something that the bridge cannot go by"
    AGAIN = "it is time to look at it again"
    REVOKED = "it goes to another process, or this one ends"
    LEFT = "everything of it is delivered, or time ran out"
    LOST = "this process is no member of the group any more, or was none for a while"
    ASSIGNED = "the group has assigned it again"
    GIVEN_AWAY = "another process has it, or had it"


TRANSITIONS: dict[tuple[Stage, Turn], Stage] = {
    (Stage.FENCING, Turn.FENCED): Stage.RESTORING,
    (Stage.FENCING, Turn.REVOKED): Stage.GONE,
    (Stage.RESTORING, Turn.RESTORED): Stage.OWNED,
    (Stage.RESTORING, Turn.FLAWED): Stage.BLOCKED,
    (Stage.RESTORING, Turn.REVOKED): Stage.GONE,
    (Stage.OWNED, Turn.LOST): Stage.SUSPENDED,
    (Stage.SUSPENDED, Turn.ASSIGNED): Stage.RETURNING,
    (Stage.SUSPENDED, Turn.REVOKED): Stage.GONE,
    (Stage.RETURNING, Turn.RESTORED): Stage.OWNED,
    (Stage.RETURNING, Turn.LOST): Stage.SUSPENDED,
    (Stage.RETURNING, Turn.REVOKED): Stage.GONE,
    (Stage.BLOCKED, Turn.AGAIN): Stage.RESTORING,
    (Stage.BLOCKED, Turn.REVOKED): Stage.GONE,
    (Stage.OWNED, Turn.REVOKED): Stage.LEAVING,
    (Stage.LEAVING, Turn.REVOKED): Stage.LEAVING,
    (Stage.LEAVING, Turn.LEFT): Stage.GONE,
}
TRANSITIONS |= {
    (stage, Turn.LOST): Stage.GONE for stage in (Stage.FENCING, Stage.RESTORING, Stage.BLOCKED, Stage.LEAVING)
} | {(stage, Turn.GIVEN_AWAY): Stage.GONE for stage in Stage if stage is not Stage.GONE}


class ForbiddenTurn(RuntimeError):
    """A shard took a turn that the table does not know: a bug."""


def next_stage(stage: Stage, turn: Turn) -> Stage:
    """The stage after ``turn``; raises :class:`ForbiddenTurn` where the table has none."""
    try:
        return TRANSITIONS[stage, turn]
    except KeyError:
        raise ForbiddenTurn(f"{turn.name} in {stage.name}") from None
