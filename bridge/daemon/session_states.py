"""A session's states and what leads from one to the next: one table, walked by one test."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """What a session's worker is doing."""

    CONNECTING = "connecting"
    STREAMING = "streaming"
    WAITING = "waiting"
    """Between two attempts: the back-off runs."""
    ENDED = "ended"
    """The server has no such session any more, or said that it was deleted."""
    REFUSED = "refused"
    """The server sends events without ids, and the settings refuse that."""
    CRASHED = "crashed"
    """A bug: the supervisor starts the session again from its position."""
    STOPPED = "stopped"


class Signal(Enum):
    """What happened to a session's worker."""

    OPENED = "the server answered with an event stream"
    LOST = "no connection, or the connection is gone"
    RETRY = "the back-off is over"
    GONE = "the session is over"
    NO_IDS = "an event came without an id"
    BUG = "an exception that nobody expected"
    STOP = "a stop was asked for"


FINAL = frozenset({State.ENDED, State.REFUSED, State.CRASHED, State.STOPPED})

TRANSITIONS: dict[tuple[State, Signal], State] = {
    (State.CONNECTING, Signal.OPENED): State.STREAMING,
    (State.CONNECTING, Signal.LOST): State.WAITING,
    (State.CONNECTING, Signal.GONE): State.ENDED,
    (State.STREAMING, Signal.LOST): State.WAITING,
    (State.STREAMING, Signal.GONE): State.ENDED,
    (State.STREAMING, Signal.NO_IDS): State.REFUSED,
    (State.WAITING, Signal.RETRY): State.CONNECTING,
    (State.WAITING, Signal.GONE): State.ENDED,
} | {
    (state, signal): result
    for state in (State.CONNECTING, State.STREAMING, State.WAITING)
    for signal, result in ((Signal.STOP, State.STOPPED), (Signal.BUG, State.CRASHED))
}


class ForbiddenTransition(RuntimeError):
    """A state got a signal that the table does not know: a bug."""


def next_state(state: State, signal: Signal) -> State:
    """The state after ``signal``; raises :class:`ForbiddenTransition` where the table has none."""
    try:
        return TRANSITIONS[state, signal]
    except KeyError:
        raise ForbiddenTransition(f"{signal.name} in {state.name}") from None
