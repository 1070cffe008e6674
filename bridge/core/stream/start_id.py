"""Whether a server gives the start id ``0`` to an event, which a replay after ``0`` leaves out.

A server that counts from 0 looks like one that counts from 1 to a reader that asks for the events after 0. Two
observations tell them apart: an event with the id 0, and the answer to a request that resumes after -1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

ZERO: Final = "0"
BELOW: Final = "-1"
"""A server that compares ids as numbers replays all its events after this id, the one with the id 0 too."""


class FirstId(Enum):
    """What is known about the server's first id."""

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
