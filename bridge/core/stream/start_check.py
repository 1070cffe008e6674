"""Finds the event with the start id 0, which a replay after 0 leaves out (see ``start_id``).

Only a session without known events needs it. The events that it has received are held for the next connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bridge.core.stream.actions import Action
from bridge.core.stream.event import Event
from bridge.core.stream.facts import SKIPPED_START, StreamFacts
from bridge.core.stream.ids import BELOW, ZERO, FirstId, number
from bridge.core.stream.overlap import OverlapWindow

ANSWER_TIMEOUT: Final = 1.0
"""Seconds for the first event of a replay after -1. A server that does not know the id may send nothing at all."""
TRIES: Final = 3
"""Questions whose answer a cut or a proxy may have prevented."""


def first_mark(window: OverlapWindow, first: Event) -> OverlapWindow | None:
    """The window to write before this event gets the first number of an epoch; None if the present one is right.

    After a crash, a replay that begins with the id after ``window`` proves nothing if that was not the first event's.
    """
    mark = window.unproven()
    is_needed = not window.digests and mark != window and _is_next_after(window.cursor, first) is False
    return mark if is_needed else None


def _is_next_after(last_event_id: str, event: Event) -> bool | None:
    """Whether an event has exactly the next id after this one; None if that is no number."""
    before = -1 if last_event_id == BELOW else number(last_event_id)
    return None if before is None else number(event.id) == before + 1


class StartCheck:
    """The check of one session. For its thread alone."""

    def __init__(self, facts: StreamFacts) -> None:
        self.is_wanted = False
        self.has_held_unproven = False
        """Events were held after a reconnect, and nothing proves yet that they are the first ones."""
        self.began_new = False
        """It began with the session's first event: ``attached`` has been announced, and nothing was claimed before."""
        self._facts = facts
        self._is_done = self._is_asking = False
        self._tries = 0
        self._may_lack_first = False
        """The first event of the session had the id 1, and may not have been its first one."""

    @property
    def requested_id(self) -> str:
        """The id after which a session without known events resumes."""
        facts = self._facts
        is_below = facts.policy.start_after_id == ZERO and facts.policy.start_id.first is FirstId.IS_REPLAYED
        return BELOW if is_below else facts.policy.start_after_id

    def is_after_start(self, first: Event) -> bool:
        """Whether an event has exactly the first id after the requested one."""
        return _is_next_after(self._facts.requested_id, first) is True

    def begins_check(
        self, events: Sequence[Event], actions: list[Action], *, unless_unknown: bool, is_new: bool
    ) -> bool:
        """Whether another connection must show if these events are the first ones; then they are held.

        ``unless_unknown``: only if an event of another session has the start id. ``is_new``: the session's first event.
        """
        facts, known = self._facts, self._facts.policy.start_id
        is_open = known.is_zero or (known.first is FirstId.UNKNOWN and not unless_unknown)
        if facts.requested_id != ZERO or facts.policy.start_after_id != ZERO or self._is_done or not is_open:
            return False
        self.began_new, self.has_held_unproven = is_new, not unless_unknown
        self.is_wanted = known.first is not FirstId.IS_REPLAYED
        self._is_done = not self.is_wanted
        actions += facts.leave(events, "does the server have an event with the id 0")
        return True

    @property
    def believes_first(self) -> bool:
        """Whether the first id after the requested one belongs to the first event, as far as the server shows.

        A check without an answer, such as a failure of the network, shows nothing. Where nobody has asked, a loss is
        announced already.
        """
        believed = {FirstId.IS_ONE, FirstId.UNKNOWN}
        return self._facts.requested_id != ZERO or self._facts.policy.start_id.first in believed

    @property
    def leaves_doubt(self) -> bool:
        """Whether only this session's own question speaks for the first id: the server may have lost the event 0.

        Another session that begins with 1 is enough: a loss of exactly the first event of both is no coincidence.
        """
        return self._is_done and not self.began_new and self._facts.requested_id == ZERO

    def judge(self, first: Event) -> None:
        """The first event of a replay after -1."""
        found = number(first.id)
        answers = {0: FirstId.IS_REPLAYED, 1: FirstId.IS_ONE}
        self._finish(answers.get(-1 if found is None else found, FirstId.HIDDEN))

    def ask(self) -> None:
        """The question is requested now."""
        self._tries += 1
        self._is_asking = True

    def ended(self, *, may_repeat: bool) -> None:
        """The connection ended before an event, or none was made. ``may_repeat``: perhaps the network's fault alone.

        Some servers crash over such an id, so that even then it is asked a few times only.
        """
        if not self._is_asking:
            return
        self._is_asking = False
        if not may_repeat or self._tries >= TRIES:
            self._finish(FirstId.HIDDEN)

    def _finish(self, first: FirstId) -> None:
        self.is_wanted, self._is_done, self._is_asking = False, True, False
        self._facts.policy.start_id.record(first)

    def attached(self, first: Event, actions: list[Action]) -> None:
        """The session begins with this event; ``attached`` says nothing about events before it."""
        facts = self._facts
        if facts.requested_id == facts.policy.start_after_id == ZERO and number(first.id) == 1:
            self._may_lack_first = facts.policy.start_id.first is not FirstId.IS_ONE
            self.report_late(actions)

    def report_late(self, actions: list[Action]) -> None:
        """Announce the missing first event once another session has shown that there is one."""
        if self._may_lack_first and self._facts.policy.start_id.is_zero:
            self._may_lack_first = False
            actions += self._facts.announce("gap", "start_id_skipped", SKIPPED_START)
