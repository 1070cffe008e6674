"""Events that were held for a replay: they are published if the next connection does not bring them again."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.core.stream.actions import Action
from bridge.core.stream.event import Event
from bridge.core.stream.facts import StreamFacts
from bridge.core.stream.following import Following
from bridge.core.stream.ids import number
from bridge.core.stream.overlap import digest

_BEFORE = "a reconnect did not bring the events that may be missing before these"
_AFTER = "a reconnect did not bring the events that may be missing after these"


class HeldEvents:
    """The held events of one session. For its thread alone."""

    def __init__(self, facts: StreamFacts, following: Following) -> None:
        self._facts = facts
        self._following = following

    def release(self, events: Sequence[Event], actions: list[Action]) -> bool:
        """The next connection continues with these events. True if held ones were published before them."""
        facts = self._facts
        held, facts.held = facts.held, []
        if not held or self._comes_again(held[0][0], events):
            return False
        for part in held:
            self._publish(part, number(events[0].id), actions)
        return True

    def publish_after_loss(self, events: Sequence[Event], actions: list[Action], reason: str, detail: str) -> bool:
        """The position is lost, and these events answer the request for everything. True if held ones are published."""
        facts = self._facts
        held, facts.held = facts.held, []
        if not held or self._comes_again(held[0][0], events):
            return False
        actions += facts.start_epoch("gap", reason, detail, facts.start, to=held[0][0].id)
        actions += facts.publish(held[0])
        facts.last_id = held[0][-1].last_event_id
        for part in held[1:]:
            self._publish(part, None, actions)
        return True

    def _comes_again(self, held: Event, events: Sequence[Event]) -> bool:
        if not events:
            return False
        found, kept, last = number(events[0].id), number(held.id), number(self._facts.last_id)
        if self._facts.loss is None and found is not None and kept is not None and found != kept:
            return (-1 if last is None else last) < found < kept
        wanted = digest(held)
        return any(digest(event) == wanted for event in events)

    def _publish(self, part: Sequence[Event], found: int | None, actions: list[Action]) -> None:
        """Publish the held events of one connection; ``found``: the first id of the present one."""
        facts = self._facts
        last, kept = number(facts.last_id), number(part[0].id)
        if last is None or kept != last + 1:
            missing = self._missing(last, kept, found)
            self._following.stop_backfilling()
            actions += facts.start_epoch("gap", "not_healed", _BEFORE, None, to=part[0].id, missing=missing)
        actions += facts.publish(part)
        last_id = facts.last_id = part[-1].last_event_id
        facts.window = facts.window._replace(cursor=last_id)
        facts.ids.begin(last_id)

    def _missing(self, last: int | None, kept: int | None, found: int | None) -> int | None:
        facts = self._facts
        counts = facts.ids.are_countable and not facts.ids.repeat and facts.last_id != facts.policy.start_after_id
        if counts and last is not None and kept is not None and found is not None and found > kept:
            return kept - last - 1
        return None

    def check_next(self, first: Event, actions: list[Action], *, believes_next: bool = True) -> None:
        """After published held events: announce a gap unless this event has the next id.

        ``believes_next``: the next id proves that none is missing. Not if more events may share the last id.
        """
        facts = self._facts
        last, found = number(facts.last_id), number(first.id)
        if last is None or found != last + 1 or not believes_next:
            actions += facts.start_epoch("gap", "not_healed", _AFTER, None, to=first.id)
            facts.ids.last = None
