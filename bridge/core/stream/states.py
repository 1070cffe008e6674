"""The states of a connection to a stream: what it has to prove, and the transitions between them.

=========== ======================================= ===========================================================
state       the request resumed                     the first events decide
=========== ======================================= ===========================================================
NEW         after the start id, for the first time  whether the server knew the start id
START       after the start id, nothing is known    the next id after the start id proves that none is missing
CHECK       below the start id                      the first id shows whether an event has the start id
REPLAY      before known events                     the known events, in order, prove the replay
NEXT_ID     after the last known event              the next id proves that none is missing
FETCH       after the start id: a replay failed     known events, to the last one, prove the replay
BELIEVED    after the last id, without overlap      known events at the start are dropped
ANNOUNCED   a loss was announced before the request nothing
FOLLOWING   nothing is left to prove                later ids that jump or start over
=========== ======================================= ===========================================================
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """The task of a connection."""

    CLOSED = "no connection"
    NEW = "the first connection of the session"
    START = "no event is known"
    CHECK = "does an event have the start id"
    REPLAY = "known events must come first"
    NEXT_ID = "the next id must come first"
    FETCH = "everything after the start id is requested"
    BELIEVED = "the server is believed"
    ANNOUNCED = "a loss was announced"
    FOLLOWING = "nothing is left to prove"


class Signal(Enum):
    """What happened to a connection."""

    OPENED = "the server answered with a stream"
    PROVED = "the first events prove the position"
    LOST = "the position is lost, and that was announced"
    TIMED_OUT = "the known events did not come in time"
    LEFT = "another connection is requested"


UNPROVED = tuple(state for state in State if state not in {State.CLOSED, State.ANNOUNCED, State.FOLLOWING})
"""The states of a connection that has something to prove."""
AWAITING = frozenset({State.REPLAY, State.FETCH, State.CHECK})
"""The states in which an event must come within the replay timeout."""

TRANSITIONS: dict[tuple[State, Signal], State] = (
    {(state, Signal.OPENED): state for state in UNPROVED}
    | {(State.ANNOUNCED, Signal.OPENED): State.FOLLOWING}
    | {(state, signal): State.FOLLOWING for state in UNPROVED for signal in (Signal.PROVED, Signal.LOST)}
    | {(state, Signal.TIMED_OUT): State.CLOSED for state in AWAITING}
    | {(state, Signal.LEFT): State.CLOSED for state in State}
    | {(State.ANNOUNCED, Signal.LEFT): State.ANNOUNCED}
)
"""A connection that never opened leaves its announced loss to the next one, so ANNOUNCED survives LEFT."""
