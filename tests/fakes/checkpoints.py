"""Checkpoints as a shard restores them."""

from __future__ import annotations

from bridge.core.checkpoint_history import Restored
from bridge.core.identity import Position, SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.stream.overlap import OverlapWindow


def restored(name: str, state: str = "ended", *, epoch: int = 1000, is_stale: bool = False) -> Restored:
    """A checkpoint of a session."""
    window = OverlapWindow("8", "9", b"12345678", certain=False)
    one = Checkpoint(
        SessionKey("local", name), Position(epoch, 7, "9"), state, 5000, f"rules of {name}", window, 12  # type: ignore[arg-type]
    )  # fmt: skip
    return Restored(one, is_stale)
