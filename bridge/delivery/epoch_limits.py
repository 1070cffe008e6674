"""At least once, all events of an epoch are encoded for the same size limits of their topics.

A limit decides which topic a record goes to. A process that is killed may leave a later dead letter in Kafka and not an
earlier event. If that event became a dead letter too, under its old number, a consumer that keeps the highest number of
each topic would drop it.
"""

from __future__ import annotations

from bridge.core.records.encoder import Encoder
from bridge.core.records.lifecycle import LifecycleEvent


class EpochLimits:
    """The limits of one session's epoch. Thread rule: the session's worker."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._version = encoder.limits.version
        self._binding = encoder.binding_limits

    def have_changed(self) -> bool:
        """Whether the topics accept other events than before. Asked again, it compares with the limits of now."""
        version = self._encoder.limits.version
        if version == self._version:
            return False
        before, self._version, self._binding = self._binding, version, self._encoder.binding_limits
        return before != self._binding

    @staticmethod
    def lifecycle_event(last_event_id: str) -> LifecycleEvent:
        """The reason of the new epoch."""
        detail = "what the topics accept has changed: a new epoch starts"
        return LifecycleEvent("resumed", "settings_changed", detail, last_event_id, last_event_id)
