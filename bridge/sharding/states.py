"""The states of one shard in one process, and the signals that change them: one table. Pure."""

from __future__ import annotations

from enum import Enum


class ShardState(Enum):
    """The state of a shard that the group has assigned to this process."""

    FENCING = "fencing"
    """The former owner's transactions are being fenced. At least once: only if a claim says that there may be some."""
    RESTORING = "restoring"
    """The claim is written; the partition is read until the claim appears."""
    OWNED = "owned"
    """Its sessions are bridged here."""
    REREADING = "owned, reading again"
    """Owned; the partition is read again behind a new claim, because another process wrote to it."""
    SUSPENDED = "suspended"
    """The group expelled this process, perhaps because Kafka was away. Readers continue. At least once: nothing is
    handed to a producer until the owner of the shard is known. Exactly once: transactions continue, because a new
    owner's ``init_transactions`` fences them."""
    RETURNING = "returning"
    """Assigned again: the partition is read behind a new claim to find out whether another process owned it."""
    BLOCKED = "blocked"
    """It holds invalid checkpoints. It is read again after a while."""
    RELEASING = "leaving"
    """Its readers stop; what they read is delivered and checkpointed."""
    GONE = "gone"
    """Nothing of it is handed to a producer any more."""

    @property
    def public_name(self) -> str:
        """The name in ``/api/status``."""
        return ShardState.OWNED.value if self is ShardState.REREADING else self.value


class ShardSignal(Enum):
    """An event that may change the state of a shard."""

    FENCED = "no former owner can write any more"
    RESTORED = "the own claim was read"
    INVALID = "the own claim was read, after invalid checkpoints"
    UNFENCED = "a former owner may have an open transaction"
    RETRY = "it is time to read a blocked shard again"
    REREAD = "another process wrote to the partition, or the topic was recreated"
    REVOKED = "the group revokes it, or this process shuts down"
    RELEASED = "everything is delivered, or the time is over"
    LOST = "the group expelled this process"
    ASSIGNED = "the group assigned it again"
    TAKEN_OVER = "another process owns it, or owned it meanwhile"


_STATE, _SIGNAL = ShardState, ShardSignal
IS_OWNED = frozenset({_STATE.OWNED, _STATE.REREADING})
IS_UNCERTAIN = frozenset({_STATE.SUSPENDED, _STATE.RETURNING})
IS_SETTLED = IS_OWNED | IS_UNCERTAIN | {_STATE.BLOCKED, _STATE.RELEASING}
"""The process can start: the shard is owned, or cannot be at present."""

TRANSITIONS: dict[tuple[ShardState, ShardSignal], ShardState] = {
    (_STATE.FENCING, _SIGNAL.FENCED): _STATE.RESTORING,
    (_STATE.FENCING, _SIGNAL.LOST): _STATE.GONE,
    (_STATE.FENCING, _SIGNAL.REVOKED): _STATE.GONE,
    (_STATE.RESTORING, _SIGNAL.RESTORED): _STATE.OWNED,
    (_STATE.RESTORING, _SIGNAL.INVALID): _STATE.BLOCKED,
    (_STATE.RESTORING, _SIGNAL.UNFENCED): _STATE.FENCING,
    (_STATE.RESTORING, _SIGNAL.LOST): _STATE.GONE,
    (_STATE.RESTORING, _SIGNAL.REVOKED): _STATE.GONE,
    (_STATE.OWNED, _SIGNAL.REREAD): _STATE.REREADING,
    (_STATE.OWNED, _SIGNAL.LOST): _STATE.SUSPENDED,
    (_STATE.OWNED, _SIGNAL.REVOKED): _STATE.RELEASING,
    (_STATE.REREADING, _SIGNAL.REREAD): _STATE.REREADING,
    (_STATE.REREADING, _SIGNAL.RESTORED): _STATE.OWNED,
    (_STATE.REREADING, _SIGNAL.LOST): _STATE.SUSPENDED,
    (_STATE.REREADING, _SIGNAL.REVOKED): _STATE.RELEASING,
    (_STATE.SUSPENDED, _SIGNAL.ASSIGNED): _STATE.RETURNING,
    (_STATE.SUSPENDED, _SIGNAL.REVOKED): _STATE.GONE,
    (_STATE.RETURNING, _SIGNAL.RESTORED): _STATE.OWNED,
    (_STATE.RETURNING, _SIGNAL.LOST): _STATE.SUSPENDED,
    (_STATE.RETURNING, _SIGNAL.REVOKED): _STATE.GONE,
    (_STATE.BLOCKED, _SIGNAL.RETRY): _STATE.RESTORING,
    (_STATE.BLOCKED, _SIGNAL.LOST): _STATE.GONE,
    (_STATE.BLOCKED, _SIGNAL.REVOKED): _STATE.GONE,
    (_STATE.RELEASING, _SIGNAL.REVOKED): _STATE.RELEASING,
    (_STATE.RELEASING, _SIGNAL.RELEASED): _STATE.GONE,
    (_STATE.RELEASING, _SIGNAL.LOST): _STATE.GONE,
} | {(state, _SIGNAL.TAKEN_OVER): _STATE.GONE for state in _STATE if state is not _STATE.GONE}
