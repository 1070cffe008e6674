"""Events about the connection (``connected``, ``heartbeat``): never published, but they show which ids there are."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.core.stream.actions import Action, NoIds, TakesPart
from bridge.core.stream.event import Event
from bridge.core.stream.facts import StreamFacts
from bridge.core.stream.ids import number


class ConnectionEvents:
    """The events about the connections of one session. For its thread alone."""

    def __init__(self, facts: StreamFacts) -> None:
        self._facts = facts
        self._policy = facts.policy

    def refuse(self, events: Sequence[Event]) -> bool:
        """Whether the first events of a connection show that the server gives no ids, and the settings refuse that."""
        own = self._policy.connection_events
        if self._facts.has_ids or self._policy.accepts_no_ids:
            return False
        first = next((event for event in events if event.name and event.name not in own), None)
        lacks_id = first is not None and not first.id and first.name not in self._policy.ids_not_required
        return lacks_id or any(map(self._shows_no_ids, events))

    def without(self, events: Sequence[Event], actions: list[Action]) -> Sequence[Event]:
        """The events of the session: those about the connection are not published."""
        own = self._policy.connection_events
        if own.isdisjoint({event.name for event in events}):
            return events
        kept = []
        last = self._facts.ids.last
        for event in events:
            found = number(event.id)
            if event.name not in own:
                kept.append(event)
                last = found
            elif found is not None and last is not None and found > last:
                self._facts.ids.mark_shared()
            elif self._shows_no_ids(event):
                actions.append(TakesPart() if self._policy.accepts_no_ids else NoIds())
        return kept

    def _shows_no_ids(self, event: Event) -> bool:
        is_first = event.name == "connected" and not event.id
        return is_first and self._policy.readers_take_part and not self._facts.has_ids
