"""Decisions about ids that jump, start over, or are missing, and about events that were held for a replay.

Held events are published if the next connection does not bring them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bridge.core.stream.actions import Action, NoIds, TakesPart, UncertainIds
from bridge.core.stream.event import Event
from bridge.core.stream.facts import StreamFacts, after_start
from bridge.core.stream.ids import Step, number
from bridge.core.stream.overlap import digest

BACKFILL_INTERVAL: Final = 600.0
"""Seconds between two reconnects because of a jump: a server that loses events often must not be reconnected often."""
_BEFORE = "a reconnect did not bring the events that may be missing before these"
_AFTER = "a reconnect did not bring the events that may be missing after these"


class Following:
    """Follows the ids of one session's stream. For its thread alone. Nothing is ever dropped as a repeat here."""

    def __init__(self, facts: StreamFacts) -> None:
        self.backfilled = 0
        """Jumps that a reconnect filled."""
        self._facts = facts
        self._backfilling: tuple[int, int] | None = None
        self._backfilled_at = float("-inf")

    def follow(self, events: Sequence[Event], now: float, actions: list[Action]) -> Sequence[Event]:
        """Publish events up to the first one that needs a decision; returns the rest. ``now``: seconds, monotonic."""
        facts = self._facts
        if facts.has_ids and facts.ids.advance(events):
            self._note_backfilled(events[0])
            facts.last_id = events[-1].id or ""
            actions += facts.publish(events)
            return []
        for index, event in enumerate(events):
            if not event.id:
                if self._may_lack_id(event):
                    continue
                actions += facts.publish(events[:index])
                return self._without_id(events[index:], actions)
            facts.has_ids = True
            step = facts.ids.classify(event.id)
            if step is not Step.NEXT:
                actions += facts.publish(events[:index])
                rest = events[index:]
                return self._jump(rest, now, actions) if step is Step.JUMP else self.start_over(rest, actions)
            self._note_backfilled(event)
            facts.last_id = event.id
        actions += facts.publish(events)
        return []

    def start_over(self, events: Sequence[Event], actions: list[Action]) -> Sequence[Event]:
        """Ids have started over: a new epoch, and everything after the start id is requested; returns the rest."""
        facts = self._facts
        detail = f"the server's ids started over: the stream continues with {after_start(facts.policy.start_after_id)}"
        actions += facts.start_epoch("reset", "ids_started_over", detail, facts.start, to=events[0].id)
        start, found = number(facts.policy.start_after_id), number(events[0].id)
        facts.ids.last = None
        if facts.policy.start_after_id and (start is None or found is None or found > start + 1):
            actions += facts.leave(events, "ids started over")
            return []
        return events

    def stop_backfilling(self) -> None:
        """The reconnect did not fill the jump."""
        if self._backfilling is not None:
            self._backfilling = None
            self._facts.ids.distrust()

    def _note_backfilled(self, event: Event) -> None:
        if self._backfilling is not None and number(event.id) == self._backfilling[0] + 1:
            self.backfilled += 1
            self._backfilling = None

    def _may_lack_id(self, event: Event) -> bool:
        facts = self._facts
        if not event.name or event.name in facts.policy.ids_not_required:
            return True
        return not facts.window.certain if facts.has_ids else facts.policy.accepts_no_ids

    def _without_id(self, events: Sequence[Event], actions: list[Action]) -> Sequence[Event]:
        """The first event without an id: it is unknown whether a replay brings it."""
        facts = self._facts
        if not facts.has_ids:
            actions.append(NoIds())
            return []
        facts.window = facts.window._replace(certain=False)
        actions.append(UncertainIds())
        return events

    def _jump(self, events: Sequence[Event], now: float, actions: list[Action]) -> Sequence[Event]:
        """Ids are missing: request them again, once; what is missing after that is a gap."""
        facts = self._facts
        last, found = facts.ids.last, number(events[0].id)
        if last is None or found is None:
            raise AssertionError("only numbers jump")
        if (last, found) != self._backfilling and now - self._backfilled_at >= BACKFILL_INTERVAL:
            self._backfilling, self._backfilled_at = (last, found), now
            actions += facts.leave(events, f"ids jumped from {last} to {found}")
            return []
        self._backfilling = None
        facts.ids.distrust()
        detail = "ids jumped: the server did not send these events, or does not have them any more"
        actions += facts.start_epoch("gap", "ids_jumped", detail, None, to=events[0].id, missing=found - last - 1)
        facts.ids.last = None
        return events

    # Events that were held for the next connection

    def release_held(self, events: Sequence[Event], actions: list[Action]) -> bool:
        """The next connection continues with these events. True if held ones were published before them."""
        held = self._take_held(events)
        for part in held:
            self._publish_part(part, number(events[0].id), actions)
        return bool(held)

    def publish_held(self, events: Sequence[Event], actions: list[Action], reason: str, detail: str) -> bool:
        """The position is lost, and these events answer the request for everything. True if held ones are published."""
        facts, held = self._facts, self._take_held(events)
        if not held:
            return False
        actions += facts.start_epoch("gap", reason, detail, facts.start, to=held[0][0].id)
        actions += facts.publish(held[0])
        facts.last_id = held[0][-1].last_event_id
        for part in held[1:]:
            self._publish_part(part, None, actions)
        return True

    def _take_held(self, events: Sequence[Event]) -> list[Sequence[Event]]:
        """The held events; none if these bring them again."""
        held, self._facts.held = self._facts.held, []
        return [] if not held or self._comes_again(held[0][0], events) else held

    def _comes_again(self, held: Event, events: Sequence[Event]) -> bool:
        if not events:
            return False
        found, kept, last = number(events[0].id), number(held.id), number(self._facts.last_id)
        if self._facts.loss is None and found is not None and kept is not None and found != kept:
            return (-1 if last is None else last) < found < kept
        wanted = digest(held)
        return any(digest(event) == wanted for event in events)

    def _publish_part(self, part: Sequence[Event], found: int | None, actions: list[Action]) -> None:
        """Publish the held events of one connection; ``found``: the first id of the present one."""
        facts = self._facts
        last, kept = number(facts.last_id), number(part[0].id)
        if last is None or kept != last + 1:
            missing = self._missing(last, kept, found)
            self.stop_backfilling()
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


# Events about the connection are never published, but they show which ids there are.


def shows_refused(facts: StreamFacts, events: Sequence[Event]) -> bool:
    """Whether the first events of a connection show that the server gives no ids, and the settings refuse that."""
    policy = facts.policy
    if facts.has_ids or policy.accepts_no_ids:
        return False
    first = next((event for event in events if event.name and event.name not in policy.connection_events), None)
    lacks_id = first is not None and not first.id and first.name not in policy.ids_not_required
    return lacks_id or any(_shows_no_ids(facts, event) for event in events)


def of_session(facts: StreamFacts, events: Sequence[Event], actions: list[Action]) -> Sequence[Event]:
    """The events of the session, without those about the connection."""
    own = facts.policy.connection_events
    if own.isdisjoint({event.name for event in events}):
        return events
    kept = []
    last = facts.ids.last
    for event in events:
        found = number(event.id)
        if event.name not in own:
            kept.append(event)
            last = found
        elif found is not None and last is not None and found > last:
            facts.ids.mark_shared()
        elif _shows_no_ids(facts, event):
            actions.append(TakesPart() if facts.policy.accepts_no_ids else NoIds())
    return kept


def _shows_no_ids(facts: StreamFacts, event: Event) -> bool:
    is_first = event.name == "connected" and not event.id
    return is_first and facts.policy.readers_take_part and not facts.has_ids
