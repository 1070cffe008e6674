"""Whether a stream goes on where it stopped: what each event of a connection is, and what follows from that. Pure.

A connection begins with a question: does the replay begin with what is known (see :mod:`overlap`)? If so,
the known events are dropped and the numbering goes on. If not, it is not certain which events are missing, or which
number the next one had when it came before: the session goes on in a new epoch, and says why. Later on the connection
nothing is ever dropped as a repeat; where ids rise by one, a jump is healed once by a reconnect, and then announced.

Crash points: a new epoch is in its checkpoint before anything is numbered in it (the outbox sees to that), so whatever
is decided here, a process that dies takes up either the old numbering at a place it can prove, or a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Final, NamedTuple

from bridge.core.identity import sendable
from bridge.core.records.lifecycle import Kind, LifecycleEvent
from bridge.core.records.rules import CONNECTION_EVENTS
from bridge.core.stream.event import Event
from bridge.core.stream.ids import RisingIds, Step, number
from bridge.core.stream.overlap import DIGEST_BYTES, OverlapWindow, digest

HEAL_EVERY: Final = 600.0
"""Seconds between two reconnects for a jump: a server that loses events all the time must not be left all the time."""
STAND_EVERY: Final = 30.0
"""Seconds between two reconnects of a reader that stood still."""

_NO_IDS: Final = "the server gives no ids: events sent meanwhile are lost"
_WITHOUT_IDS: Final = "the stream holds events without ids, which a replay may leave out: numbered anew"


class Publish(NamedTuple):
    """Hand these events over, in order."""

    events: Sequence[Event]


class Announce(NamedTuple):
    """Say this in the lifecycle topic."""

    lifecycle_event: LifecycleEvent


class StartEpoch(NamedTuple):
    """Number what follows in a new epoch, and say why."""

    lifecycle_event: LifecycleEvent
    overlap_window: OverlapWindow | None = None
    """Where the new epoch resumes; None: where the stream stands, with nothing to prove it by."""
    certain: bool = True


class Reconnect(NamedTuple):
    """Leave this connection and make another at once."""

    why: str


class UncertainIds(NamedTuple):
    """From here on a replay may leave events out: have that in a checkpoint before anything else is handed over."""


class NoIds(NamedTuple):
    """An event came without an id, and that is not accepted."""


Action = Publish | Announce | StartEpoch | Reconnect | UncertainIds | NoIds


class _Opening(Enum):
    """What a connection has yet to prove."""

    OVERLAP = auto()
    """It begins with the events of the recent window."""
    SUCCESSION = auto()
    """Its first id is the next one: nothing is remembered that could come again."""


class Continuity:
    """One session's. For its thread alone; the rest of the program is told by what it returns."""

    def __init__(
        self, start_after_id: str, *, overlap: bool, accepts_no_ids: bool, has_ids: bool, is_new: bool
    ) -> None:
        """``has_ids``: an event with an id was seen before. ``is_new``: the session was never attached."""
        self.healed = 0
        """Jumps that a reconnect made good."""
        self._start = start_after_id
        self._overlap = overlap
        self._accepts_no_ids = accepts_no_ids
        self._has_ids = has_ids
        self._is_new = is_new
        self._overlap_window = OverlapWindow.starting(start_after_id)
        self._opening: _Opening | None = None
        self._matched = 0
        self._is_announced = self._was_opened = self._is_in_doubt = False
        self._ids = RisingIds()
        self._last_id = ""
        self._held: list[Event] = []
        self._is_released = False
        self._healing: tuple[int, int] | None = None
        self._heal_at = self._stand_at = float("-inf")

    # A connection begins

    def begin(
        self, overlap_window: OverlapWindow, *, is_used: bool, cursor: str | None = None
    ) -> tuple[str, list[Action]]:
        """The id to send for the next connection, and what is to be done first.

        ``is_used``: numbers of the present epoch may be in Kafka that this process does not know of. ``cursor``: the
        stream's last event id, where an id without an event has moved it: where to resume without overlap.
        """
        self._opening, self._matched, self._is_in_doubt = None, 0, False
        if self._was_opened:  # what was said for a connection that never came holds for the next one
            self._was_opened = self._is_announced = False
        self._overlap_window, self._last_id = overlap_window, overlap_window.cursor
        actions: list[Action] = []
        if not overlap_window.digests:
            # Without overlap the server is believed; not if it has yet to show that it knows ids.
            believed = not self._overlap and overlap_window.after != "" and overlap_window.believes_next
            believed = believed and (self._has_ids or not self._accepts_no_ids)
            self._opening = None if believed or not is_used else _Opening.SUCCESSION
        elif not self._has_ids:
            actions = self._anew("unresumable", "no_ids", _NO_IDS, self._resume_point())
        elif self._overlap and overlap_window.after:
            self._opening = _Opening.OVERLAP
        elif not sendable(overlap_window.cursor):
            actions = self._anew(
                "resumed", "unsendable_id",
                "HTTP cannot carry the last event id: resumed after an earlier one, so events come again",
                OverlapWindow.starting(overlap_window.after),
            )  # fmt: skip
        elif self._overlap:
            self._opening = _Opening.SUCCESSION
        elif cursor is not None and sendable(cursor):
            self._overlap_window = overlap_window._replace(cursor=cursor)
        if self._opening is _Opening.OVERLAP or (overlap_window.after and not overlap_window.digests):
            sent = overlap_window.after
        else:
            sent = self._resume_point().after
        self._ids.begin(sent)
        if sent == self._start and not overlap_window.digests:
            self._ids.last = (
                None if self._ids.prove_jumps else self._ids.last
            )  # what the start has lost is told by the reset
        return sent, actions

    def opened(self) -> list[Action]:
        """The server has answered with a stream; says so where there is nothing left to prove."""
        self._was_opened = True
        if self._is_new:
            self._is_new, self._is_announced = False, True
            return [Announce(self._lifecycle_event("attached", "new_session", "the session is bridged from here on"))]
        if self._opening or self._is_announced:
            return []
        if self._accepts_no_ids and not self._has_ids:
            self._is_in_doubt = True
            return []
        return self._resumed("believed" if self._overlap_window.digests else "nothing_before")

    def _end_doubt(self, first: Event) -> list[Action]:
        """The first event after a reconnect shows whether the server could resume at all."""
        self._is_in_doubt = False
        if first.id:
            return self._resumed("nothing_before")
        self._is_announced = True
        return [Announce(self._lifecycle_event("unresumable", "no_ids", _NO_IDS))]

    def _resumed(self, reason: str) -> list[Action]:
        if self._is_announced:
            return []
        self._is_announced = True
        return [Announce(self._lifecycle_event("resumed", reason, "the stream goes on where it stopped"))]

    def _resume_point(self) -> OverlapWindow:
        """The last id where it can be sent, else the last one that can."""
        overlap_window = self._overlap_window
        return OverlapWindow.starting(
            overlap_window.cursor if sendable(overlap_window.cursor) else overlap_window.after
        )

    # What comes

    def take(self, events: Sequence[Event], now: float) -> list[Action]:
        """What to do about the next events of the connection; ``now`` by the clock for durations."""
        events = self._of_session(events)
        actions: list[Action] = []
        named = next((event for event in events if event.name), None) if self._is_in_doubt else None
        if named is not None:
            actions += self._end_doubt(named)
        if events and self._opening is not None:
            events = self._open(events, actions)
        elif events and self._held:
            self._release(events[0], actions)
            self._follow_released(events[0], actions)
        while events:
            events = self._go_on(events, now, actions)
        return actions

    def stood_still(self, events: Sequence[Event], seconds: float, now: float) -> list[Action]:
        """The reader stood still for so long: a server that drops events for slow readers may have dropped some.

        ``events`` are what the connection held meanwhile. A replay is surer; without ids there is none.
        """
        if self._opening is not None or self._held:
            return self.take(events, now)  # asked anew already
        if not self._has_ids:
            detail = f"the reader stood still for {seconds:.0f} s: the server may have dropped events meanwhile"
            return [Announce(self._lifecycle_event("gap", "stood_still", detail)), *self.take(events, now)]
        if now - self._stand_at < STAND_EVERY:
            return self.take(events, now)
        self._stand_at = now
        return self._leave(self._of_session(events), f"the reader stood still for {seconds:.0f} s")

    @property
    def awaits_replay(self) -> bool:
        """Whether known events must come before anything else: a server that replays sends them at once."""
        return self._opening is _Opening.OVERLAP

    def lapse(self) -> list[Action]:
        """The replay did not come. What the server has said since may stand under ids it takes for read: all anew.

        Without this, the last words of a session whose server began its ids anew would wait for a next one.
        """
        self._opening = None
        detail = "the server did not send the last known events again: all it has is fetched anew, some may be missing"
        point = OverlapWindow.starting(self._start) if self._start else self._resume_point()
        return self._anew("gap", "not_replayed", detail, point)

    def forget_ids(self) -> None:
        """The server did not know the last id: whether it gives ids at all is looked at again."""
        self._has_ids = False

    def _of_session(self, events: Sequence[Event]) -> Sequence[Event]:
        """Without the events about the connection, which are not the session's."""
        if CONNECTION_EVENTS.isdisjoint({event.name for event in events}):
            return events
        kept = []
        last = self._ids.last
        for event in events:
            found = number(event.id)
            if event.name not in CONNECTION_EVENTS:
                kept.append(event)
                last = found
            elif found is not None and last is not None and found > last:
                self._ids.mark_shared()
        return kept

    # At the start of a connection

    def _open(self, events: Sequence[Event], actions: list[Action]) -> Sequence[Event]:
        """Recognise known events; returns what is left once the question is settled."""
        for index, event in enumerate(events):
            if not event.name:
                continue  # an id alone proves nothing, and is moved by the next event as well
            if self._opening is _Opening.SUCCESSION:
                return self._succeed(events[index:], actions)
            if not self._is_next_known(event):
                return self._not_resumed(events[index:], actions)
            self._matched += 1
            self._ids.last = number(event.id) or self._ids.last
            if self._matched * DIGEST_BYTES == len(self._overlap_window.digests):
                self._prove(actions)
                return events[index + 1 :]
        return []

    def _is_next_known(self, event: Event) -> bool:
        at = self._matched * DIGEST_BYTES
        return digest(event) == self._overlap_window.digests[at : at + DIGEST_BYTES]

    def _prove(self, actions: list[Action]) -> None:
        self._opening = None
        self._held = []  # a true replay brings them again
        overlap_window = self._overlap_window
        self._ids.begin(overlap_window.cursor, overlap_window.after)
        if not overlap_window.is_complete:
            detail = "more events share the last id than are remembered: those beyond come again"
            actions += self._anew("resumed", "too_many_under_one_id", detail, overlap_window)
        elif not overlap_window.certain:
            actions += self._anew("resumed", "events_without_ids", _WITHOUT_IDS, overlap_window)
        else:
            actions += self._resumed("replay_proved")

    def _succeed(self, events: Sequence[Event], actions: list[Action]) -> Sequence[Event]:
        """Nothing known can come again: the next id in the row is proof enough, anything else is none."""
        self._opening = None
        first = events[0]
        if self._held:
            self._release(first, actions)
        point, overlap_window = self._resume_point(), self._overlap_window
        before, found = (
            number(overlap_window.cursor if overlap_window.digests else overlap_window.after),
            number(first.id),
        )
        shares = len(overlap_window.digests) > DIGEST_BYTES  # more may stand under the last id than had come
        is_next = before is not None and found == before + 1 and not shares
        if is_next and overlap_window.certain and overlap_window.believes_next:
            actions += self._resumed("next_id")
        elif first.id or self._has_ids:
            sent = number(point.after)
            if sent is not None and found is not None and found <= sent and point.after != self._start:
                return self._start_over(events, actions)
            # At a session's very beginning a server of any ids sends all it has: no reason to alarm anybody.
            is_all = point.after == self._start != "" and (sent is None or found is None)
            detail = "nothing proves which events came before: numbered anew, some may come again"
            actions += self._anew(
                "resumed" if is_all else "gap", "not_provable",
                detail if is_all else f"{detail}, some may be missing", None, to=first.id,
            )  # fmt: skip
        elif self._accepts_no_ids:
            actions += self._anew("unresumable", "no_ids", _NO_IDS, point)
        return events

    def _not_resumed(self, events: Sequence[Event], actions: list[Action]) -> Sequence[Event]:
        """The replay does not begin with what is known."""
        self._opening = None
        first = events[0]
        self._ids.begin(self._overlap_window.cursor, self._overlap_window.after)
        self._ids.repeat = self._ids.repeat or len(self._overlap_window.digests) > DIGEST_BYTES
        counts = self._ids.are_countable and not self._ids.repeat
        if self._held:
            self._release(first, actions)
        overlap_window, point = self._overlap_window, self._resume_point()
        last, found = number(overlap_window.cursor), number(first.id)
        if self._matched or last is None or found is None:
            reason = "replay_incomplete" if self._matched else "not_recognised"
            detail = "the replay does not begin with the last known events: some may be missing"
            actions += self._anew("gap", reason, detail, None, to=first.id)
        elif found <= last:
            return self._start_over(events, actions)
        elif counts and found == last + 1:
            detail = "the server has forgotten the last known event, and goes on with the next: none is missing"
            actions += self._anew("resumed", "known_forgotten", detail, point, to=first.id, missing=0)
        else:
            detail = "the server no longer has the events that follow the last known one"
            missing = found - last - 1 if counts else None
            actions += self._anew("gap", "forgotten", detail, None, to=first.id, missing=missing)
        self._ids.last = None
        return events

    # Later on

    def _go_on(self, events: Sequence[Event], now: float, actions: list[Action]) -> Sequence[Event]:
        """Take events as far as they raise no question; returns the rest."""
        if self._has_ids and self._ids.advance(events):
            self._note_healing(events[0])
            self._last_id = events[-1].id or ""
            actions.append(Publish(events))
            return []
        for index, event in enumerate(events):
            if not event.id:
                if self._may_lack_id(event):
                    continue
                return self._without_id(events, index, actions)
            self._has_ids = True
            step = self._ids.classify(event.id)
            if step is not Step.NEXT:
                actions += _publish(events[:index])
                rest = events[index:]
                return self._jump(rest, now, actions) if step is Step.JUMP else self._start_over(rest, actions)
            self._note_healing(event)
            self._last_id = event.id
        actions += _publish(events)
        return []

    def _note_healing(self, event: Event) -> None:
        if self._healing is not None and number(event.id) == self._healing[0] + 1:
            self.healed += 1
            self._healing = None

    def _may_lack_id(self, event: Event) -> bool:
        if not event.name:
            return True
        return not self._overlap_window.certain if self._has_ids else self._accepts_no_ids

    def _without_id(self, events: Sequence[Event], index: int, actions: list[Action]) -> Sequence[Event]:
        """The first event without an id: whether a replay will bring it again is not known."""
        actions += _publish(events[:index])
        if not self._has_ids:
            actions.append(NoIds())
            return []
        self._overlap_window = self._overlap_window._replace(certain=False)
        actions.append(UncertainIds())
        return events[index:]

    def _jump(self, events: Sequence[Event], now: float, actions: list[Action]) -> Sequence[Event]:
        """Ids are missing: ask again from before them, once; what is then still missing is a gap."""
        last, found = self._ids.last, number(events[0].id)
        if last is None or found is None:
            raise AssertionError("only numbers jump")
        if (last, found) != self._healing and now - self._heal_at >= HEAL_EVERY:
            self._healing, self._heal_at = (last, found), now
            actions += self._leave(events, f"ids jumped from {last} to {found}")
            return []
        self._healing = None
        self._ids.distrust()
        detail = "ids jumped: the server did not send these events, or no longer has them"
        actions += self._anew("gap", "ids_jumped", detail, None, to=events[0].id, missing=found - last - 1)
        self._ids.last = None
        return events

    def _start_over(self, events: Sequence[Event], actions: list[Action]) -> Sequence[Event]:
        """Ids have started over: a new epoch from the start, and what the start holds is fetched, not skipped."""
        detail = "the server's ids started over: all it has is fetched anew"
        actions += self._anew("reset", "ids_started_over", detail, OverlapWindow.starting(self._start), to=events[0].id)
        start, found = number(self._start), number(events[0].id)
        self._ids.last = None
        if self._start and (start is None or found is None or found > start + 1):
            actions += self._leave(events, "ids started over")
            return []
        return events

    # Events that wait for the next connection

    def _leave(self, events: Sequence[Event], why: str) -> list[Action]:
        """Reconnect; what came meanwhile is kept until it is certain that a replay brings it."""
        self._held += events
        return [Reconnect(why)]

    def _release(self, first: Event, actions: list[Action]) -> None:
        """The next connection goes on with ``first``: what was kept comes with it, or is not brought by any replay."""
        held, self._held = self._held, []
        self._is_released = False
        found, kept, last = number(first.id), number(held[0].id), number(self._last_id)
        if found is not None and kept is not None and (-1 if last is None else last) < found <= kept:
            return
        if last is None or kept != last + 1:
            detail = "a reconnect did not bring what may be missing before these events"
            counts = self._ids.are_countable and not self._ids.repeat and self._last_id != self._start
            missing = None
            if counts and last is not None and kept is not None and found is not None and found > kept:
                missing = kept - last - 1
            if self._healing is not None:
                self._healing = None
                self._ids.distrust()
            actions += self._anew("gap", "not_healed", detail, None, to=held[0].id, missing=missing)
        actions += _publish(held)
        last_id = self._last_id = held[-1].last_event_id
        self._overlap_window = self._overlap_window._replace(cursor=last_id)
        self._ids.begin(last_id)
        self._is_released = True

    def _follow_released(self, first: Event, actions: list[Action]) -> None:
        """Nothing was to be proved of this connection, but what was kept went before it."""
        last, found = number(self._last_id), number(first.id)
        if self._is_released and (last is None or found != last + 1):
            detail = "a reconnect did not bring what may be missing after these events"
            actions += self._anew("gap", "not_healed", detail, None, to=first.id)
            self._ids.last = None

    # What is said

    def _anew(  # noqa: PLR0913 - what is said, and where the new epoch begins
        self, kind: Kind, reason: str, detail: str, overlap_window: OverlapWindow | None, *,
        to: str | None = None, missing: int | None = None,
    ) -> list[Action]:  # fmt: skip
        """A new epoch, which says why. What is not certain of the stream never becomes so again."""
        self._is_announced = True
        return [
            StartEpoch(
                self._lifecycle_event(kind, reason, detail, to=to, missing=missing),
                overlap_window,
                self._overlap_window.certain,
            )
        ]

    def _lifecycle_event(
        self, kind: Kind, reason: str, detail: str, *, to: str | None = None, missing: int | None = None
    ) -> LifecycleEvent:
        return LifecycleEvent(kind, reason, detail, self._last_id, self._last_id if to is None else to, missing)


def _publish(events: Sequence[Event]) -> list[Action]:
    return [Publish(events)] if events else []
