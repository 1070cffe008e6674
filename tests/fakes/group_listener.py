"""A listener of a group that only notes the answers to commits."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Listener:
    """Notes the answers."""

    answers: list[tuple[int, bool]] = field(default_factory=list)

    def on_assigned(self, partitions: frozenset[int]) -> None:
        """Do nothing."""

    def on_revoked(self, partitions: frozenset[int]) -> bool:  # noqa: ARG002 - the protocol's
        return False

    def on_lost(self, partitions: frozenset[int]) -> None:
        """Do nothing."""

    def on_committed(self, heartbeat: int, *, is_member: bool) -> None:
        self.answers.append((heartbeat, is_member))
