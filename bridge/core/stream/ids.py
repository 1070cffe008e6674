"""Ids that rise by one: only a jump in such ids proves that events are missing. And the first id of a server.

A server that counts from 0 looks like one that counts from 1 to a reader that asks for the events after 0: a replay
after 0 leaves out the first event. Two observations tell them apart: an event with the id 0, and the answer to a
request that resumes after -1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from bridge.core.stream.event import Event

_FIRST_NEEDED: Final = 2
"""Consecutive steps of one before a jump is believed: the first events of a session are often not all it has."""
_DISTRUST: Final = 4
"""After each jump that no reconnect could repair, this many times more steps are needed. On a server whose sessions
share one counter jumps are normal, and must not cause ever more reconnects and alarms."""
_MOST_DIGITS: Final = 18
ZERO: Final = "0"
BELOW: Final = "-1"
"""A server that compares ids as numbers replays all its events after this id, the one with the id 0 too."""


class Step(Enum):
    """How an id relates to the one before it."""

    NEXT = auto()
    """The next id, the same id, or any id while ids prove nothing."""
    JUMP = auto()
    """Ids before it are missing."""
    BACK = auto()
    """Lower than before: ids have started over."""


def number(event_id: str | None) -> int | None:
    """An id as a number; None if it is not one."""
    if not event_id or len(event_id) > _MOST_DIGITS or not (event_id.isascii() and event_id.isdigit()):
        return None
    return int(event_id)


class RisingIds:
    """The ids of one session in the order of the stream. For the session's thread alone."""

    def __init__(self) -> None:
        self.last: int | None = None
        """The newest id, if it is a number."""
        self.repeat = False
        """Several events have shared an id: the number of missing ids is not the number of missing events."""
        self._steps = 0
        self._needed = _FIRST_NEEDED
        self._are_shared = False

    def begin(self, last_event_id: str, before: str = "") -> None:
        """A stream continues after this id; ``before`` is the id before it, if known."""
        self.last = number(last_event_id)
        first = number(before)
        if not self._steps and first is not None and self.last == first + 1:
            self._steps = 1

    def mark_shared(self) -> None:
        """Events about the connection use ids of this sequence, and no replay brings them: jumps prove nothing."""
        self._are_shared = True

    def distrust(self) -> None:
        """A jump was not a loss that a reconnect could repair."""
        self._steps, self._needed = 0, self._needed * _DISTRUST

    @property
    def prove_jumps(self) -> bool:
        """Whether a jump would be a loss."""
        return not self._are_shared and self._steps >= self._needed

    @property
    def are_countable(self) -> bool:
        """Whether missing ids can be counted: one step of one is enough for that."""
        return not self._are_shared and self._steps > 0

    def advance(self, events: Sequence[Event]) -> bool:
        """Accept events whose ids all rise by one after the last; False, and nothing is accepted, if they do not."""
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

    def classify(self, event_id: str) -> Step:
        """How this id relates to the last one. A proved jump or step back is not accepted as the new last id."""
        found, last = number(event_id), self.last
        self.repeat = self.repeat or (found is not None and found == last)
        if found is not None and last is not None and found != last:
            if found == last + 1:
                self._steps += 1
            elif self.prove_jumps:
                return Step.JUMP if found > last else Step.BACK
            else:
                self._steps = 0
        self.last = found
        return Step.NEXT


class FirstId(Enum):
    """What is known about the first id of a server."""

    UNKNOWN = auto()
    HIDDEN = auto()
    """A request that resumes after -1 failed or brought nothing, so it shows nothing."""
    IS_ONE = auto()
    """A replay after -1 began with 1."""
    IS_ZERO = auto()
    """An event has the id 0."""
    IS_REPLAYED = auto()
    """A replay after -1 began with 0: requests that resume there lose no first event."""


@dataclass(slots=True)
class StartId:
    """Shared by all sessions of one server. Thread rule: any thread; ``first`` is replaced as a whole."""

    first: FirstId = FirstId.UNKNOWN

    def record(self, first: FirstId) -> None:
        """Add an observation. An event with the id 0 is proof; everything else may be particular to one session.

        A check without an answer, which a failure of the network causes too, changes no answer.
        """
        if first is FirstId.HIDDEN:
            self.first = first if self.first is FirstId.UNKNOWN else self.first
        elif first is FirstId.IS_REPLAYED or not self.is_zero:
            self.first = first

    @property
    def is_zero(self) -> bool:
        """Whether an event with the id 0 has been seen."""
        return self.first in {FirstId.IS_ZERO, FirstId.IS_REPLAYED}
