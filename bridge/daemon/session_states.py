"""The states of a session's worker and the transitions between them."""

from __future__ import annotations

from enum import Enum

from bridge.core.transitions import follow


class State(Enum):
    """What a session's worker is doing."""

    CONNECTING = "connecting"
    WAITING_FOR_HEAD = "waiting for the response head"
    """The server has accepted the connection and the request, and does not answer yet."""
    STREAMING = "streaming"
    WAITING = "waiting"
    """Between two attempts, in back-off."""
    ENDED = "ended"
    """The server does not have the session any more, or reported it deleted."""
    REFUSED = "refused"
    """The server sends events without ids, and the settings refuse that."""
    CRASHED = "crashed"
    """A bug: the supervisor restarts the session from its position."""
    STOPPED = "stopped"


class Signal(Enum):
    """What happened to a session's worker."""

    CONNECTED = "the server accepted the connection"
    OPENED = "the server answered with an event stream"
    LOST = "the connection failed or ended"
    RETRY = "the back-off is over"
    GONE = "the session ended"
    NO_IDS = "an event came without an id"
    BUG = "an unexpected exception"
    STOP = "a stop was requested"


FINAL = frozenset({State.ENDED, State.REFUSED, State.CRASHED, State.STOPPED})

TRANSITIONS: dict[tuple[State, Signal], State] = {
    (State.CONNECTING, Signal.CONNECTED): State.WAITING_FOR_HEAD,
    (State.WAITING_FOR_HEAD, Signal.CONNECTED): State.WAITING_FOR_HEAD,
    (State.WAITING_FOR_HEAD, Signal.OPENED): State.STREAMING,
    (State.WAITING_FOR_HEAD, Signal.LOST): State.WAITING,
    (State.WAITING_FOR_HEAD, Signal.GONE): State.ENDED,
    (State.CONNECTING, Signal.LOST): State.WAITING,
    (State.CONNECTING, Signal.GONE): State.ENDED,
    (State.STREAMING, Signal.LOST): State.WAITING,
    (State.STREAMING, Signal.GONE): State.ENDED,
    (State.STREAMING, Signal.NO_IDS): State.REFUSED,
    (State.WAITING, Signal.RETRY): State.CONNECTING,
    (State.WAITING, Signal.GONE): State.ENDED,
} | {
    (state, signal): result
    for state in (State.CONNECTING, State.WAITING_FOR_HEAD, State.STREAMING, State.WAITING)
    for signal, result in ((Signal.STOP, State.STOPPED), (Signal.BUG, State.CRASHED))
}


def next_state(state: State, signal: Signal) -> State:
    """The state after ``signal``. Raises ``ForbiddenTransition`` where the table has none."""
    return follow(TRANSITIONS, state, signal)
