"""Ids that rise by one: the only ids that tell of a loss by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

from bridge.core.stream.event import Event

_FIRST_NEEDED: Final = 2
"""Steps of one in a row until a jump is believed: a session's first events are seldom all there are."""
_DISTRUST: Final = 4
"""So many times more steps are needed after each jump that was no loss that could be made good: on a server whose ids
are shared among sessions jumps are ordinary, and must not become ever more reconnects and alarms."""
_MOST_DIGITS: Final = 18


class Step(Enum):
    """What an id says of its place behind the one before it."""

    NEXT = auto()
    """In its place, the same as before, or on a server whose ids tell nothing."""
    JUMP = auto()
    """Ids before it are missing."""
    BACK = auto()
    """Lower than before: ids have started over."""


def number(event_id: str | None) -> int | None:
    """An id as a number; None where it is none."""
    if not event_id or len(event_id) > _MOST_DIGITS or not (event_id.isascii() and event_id.isdigit()):
        return None
    return int(event_id)


class RisingIds:
    """One session's ids, as they come. For the session's thread alone."""

    def __init__(self) -> None:
        self.last: int | None = None
        """The newest id, where it is a number."""
        self.repeat = False
        """Several events have shared an id: a number of missing ids is no number of missing events."""
        self._steps = 0
        self._needed = _FIRST_NEEDED
        self._are_shared = False

    def begin(self, last_event_id: str, before: str = "") -> None:
        """A stream goes on after this id; ``before`` is the one before it, where that is known."""
        self.last = number(last_event_id)
        first = number(before)
        if not self._steps and first is not None and self.last == first + 1:
            self._steps = 1

    def share(self) -> None:
        """Events about the connection take ids of their own, which no replay brings: a jump tells nothing."""
        self._are_shared = True

    def distrust(self) -> None:
        """A jump was no loss that could be made good."""
        self._steps, self._needed = 0, self._needed * _DISTRUST

    @property
    def tell(self) -> bool:
        """Whether a jump would be a loss."""
        return not self._are_shared and self._steps >= self._needed

    @property
    def count(self) -> bool:
        """Whether the ids that a server has forgotten can be counted: one step is enough to say so."""
        return not self._are_shared and self._steps > 0

    def follow(self, events: Sequence[Event]) -> bool:
        """Take events that all rise by one behind the last; False, and nothing is taken, where they do not."""
        if self.last is None:
            return False
        first, count = self.last + 1, len(events)
        if count == 1:
            if events[0].id != str(first):
                return False
        elif [event.id for event in events] != list(map(str, range(first, first + count))):
            return False
        self.last += count
        self._steps += count
        return True

    def judge(self, event_id: str) -> Step:
        """Where this id stands. A jump, or a step back, that tells something is not taken."""
        found, last = number(event_id), self.last
        self.repeat = self.repeat or (found is not None and found == last)
        if found is not None and last is not None and found != last:
            if found == last + 1:
                self._steps += 1
            elif self.tell:
                return Step.JUMP if found > last else Step.BACK
            else:
                self._steps = 0
        self.last = found
        return Step.NEXT
