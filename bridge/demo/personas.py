"""Who plays in the demo, and what happens to them when. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import count
from typing import NamedTuple

_NAMES = (
    *("amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heron", "iris", "juniper", "kelp", "lotus"),
    *("maple", "nectar", "opal", "pine", "quartz", "reed", "sage", "tide", "umber", "violet", "willow", "yarrow"),
)
_FIRST_CHANGE = 2.5
"""Seconds after the first arrival: whoever watches has seen the stream, and a demo of a few seconds has a change."""
_NEXT_CHANGE = 2.5
_LATER_CHANGES = 8.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the one who starts the demo wants to see."""

    seconds: float | None
    """How long the agents talk; None: until somebody ends it."""
    sessions: int
    rate: float
    """Events a second of each session."""
    seed: int
    chaos: bool = False
    """Whether the server does everything wrong that a server can do without losing an event."""


class Change(Enum):
    """What happens among the sessions."""

    CREATE = auto()
    DELETE = auto()


class Cue(NamedTuple):
    """A change and its time, in seconds after the first arrival."""

    at: float
    change: Change


def names() -> Iterator[str]:
    """Ids of sessions, short enough to be read on every line; never one twice."""
    for lap in count(1):
        yield from _NAMES if lap == 1 else (f"{name}-{lap}" for name in _NAMES)


def cues() -> Iterator[Cue]:
    """A session comes, one goes, and so on: the number of sessions stays about the same, for ever."""
    at = _FIRST_CHANGE
    yield Cue(at, Change.CREATE)
    at += _NEXT_CHANGE
    yield Cue(at, Change.DELETE)
    while True:
        for change in Change:
            at += _LATER_CHANGES
            yield Cue(at, change)
