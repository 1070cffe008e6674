"""How one session's entries get from memory to Kafka: what differs between the guarantees."""

from __future__ import annotations

from typing import Protocol

from bridge.core.entries import Batch
from bridge.delivery.checkpoint_writer import CheckpointWriter


class Sender(Protocol):
    """One session's sender. The worker calls it under the session's lock, apart from ``request_turn``."""

    checkpoints: CheckpointWriter

    @property
    def is_fast_path_open(self) -> bool:
        """The fast path is open. Where it is not, the worker only remembers, and delivery sends from memory."""
        ...

    def hand_over(self, batch: Batch) -> None:
        """The worker has submitted a batch: produce it if the fast path is open."""
        ...

    @property
    def is_out(self) -> bool:
        """Whether no transaction holds anything of it, once it is revoked (any thread)."""
        ...

    def close_fast_path(self) -> None:
        """Close the fast path: delivery must send what was added."""
        ...

    def request_turn(self) -> None:
        """Ask the delivery thread for a turn (any thread)."""
        ...
