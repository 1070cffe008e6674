"""The time within which Kafka and at least one server must be reached after the start."""

from __future__ import annotations

from collections.abc import Callable, Collection

from bridge.clock import monotonic
from bridge.daemon.source import Source
from bridge.errors import Unreachable

_REBALANCE = 60.0
"""Seconds beyond ``start_timeout`` for the group to assign the shards: Kafka is reached by then, but the group waits
for its slowest member, even for a dead one."""


class StartBudget:
    """Counts ``start_timeout``; 0 means that there is no limit. Thread rule: one thread."""

    def __init__(self, seconds: float, now: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._since = now()

    def restart(self) -> None:
        self._since = self._now()

    def is_used_up(self, more: float = 0.0) -> bool:
        return self._seconds > 0 and self._now() - self._since > self._seconds + more

    def check_shards(self, waiting_for: Callable[[], str]) -> None:
        """Raise ``Unreachable`` when the shards should have been assigned and restored by now."""
        if self.is_used_up(_REBALANCE):
            raise Unreachable(
                f"Kafka: the shards were not assigned within start_timeout and {_REBALANCE:g} s more:"
                f" {waiting_for()} (start_timeout=0 waits for ever)"
            )

    def check_servers(self, sources: Collection[Source], *, asked: bool) -> None:
        """Raise ``Unreachable`` when no server has answered in time.

        ``asked``: whether any request is sent. A replica without sessions sends none; its time starts with the first.
        """
        if not asked:
            self.restart()
        elif self.is_used_up() and not any(source.has_answered for source in sources):
            each = [f"{one.name} at {one.settings.url}: {one.failure or 'no answer yet'}" for one in sources]  # masked
            raise Unreachable(
                f"no server answered within start_timeout: {'; '.join(each)}"
                " (check servers.<name>.url and that the server runs; start_timeout=0 waits for ever)"
            )
