"""What a record of another process in an owned shard means. Pure."""

from __future__ import annotations

from bridge.core.checkpoint_log import CheckpointRecord, epoch_in
from bridge.core.records.checkpoint import epoch_and_token, token_of


def is_harmless(record: CheckpointRecord, own_token: int | None, own_epoch: int | None) -> bool:
    """Whether it is a stale write without a higher epoch than the restored one: ours is written again behind it."""
    token, epoch = token_of(epoch_and_token(record.value)), epoch_in(record.value)
    is_stale = own_token is not None and 0 <= token < own_token
    return is_stale and epoch is not None and own_epoch is not None and epoch <= own_epoch
