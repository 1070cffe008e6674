"""Notices topics that were deleted and created again: there Kafka does not know the producer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Ids = Mapping[str, str | None]
"""Topic ids by name; None where the brokers have none."""


class TopicIds:
    """The ids of the topics since the producers were made. Thread rule: the delivery thread."""

    def __init__(self, ids: Ids, ask: Callable[[], Ids | None]) -> None:
        """``ids``: at the start; empty: topics are not described. ``ask`` returns None when Kafka does not answer."""
        self._ids = dict(ids)
        self._ask = ask

    def recreated(self) -> frozenset[str] | None:
        """The topics that have another id than when this was last asked; None: that is not known."""
        if not self._ids:
            return frozenset()
        now = self._ask()
        if now is None:
            return None
        changed = frozenset(name for name, known in self._ids.items() if now.get(name) != known)
        self._ids.update({name: now.get(name) for name in changed})
        return changed
