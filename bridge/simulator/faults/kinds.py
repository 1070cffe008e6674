"""What the simulated server can do wrong, as values, and where in the server each applies. Pure.

Deeds (``Place.DEED``) happen once, when they are ordered; all others are conditions that last. For whom and for how
long is in ``fault_orders``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum, auto
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from bridge.simulator.faults.malformed_events import POISONS
from bridge.simulator.server.encoding import EVENT_STREAM_TYPE

Ending = Literal["fin", "rst", "end"]
"""How a connection ends: without a last chunk, by a reset, or with the proper end of its body."""
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Place(Enum):
    """Where in the server a fault is looked for; of several at one place the oldest counts."""

    ACCEPT = auto()
    HEAD = auto()
    FRAME = auto()
    REPLAY = auto()
    CUT = auto()
    STILL = auto()
    SKIP = auto()
    OWN_IDS = auto()
    IDS = auto()
    DROP = auto()
    DEED = auto()


class Fault:
    """The base of all: a frozen value, its name in JSON and where it applies."""

    __slots__ = ()
    kind: ClassVar[str]
    place: ClassVar[Place]
    sentence: ClassVar[str]
    """What happens, for people, with the fields' names in braces."""

    def fields(self) -> dict[str, Any]:
        """Its own fields."""
        return {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]

    def told(self) -> str:
        """What happens, for people."""
        return self.sentence.format(**self.fields())


# --- connections


@dataclass(frozen=True, slots=True)
class Refuse(Fault):
    """No new connections: ``close`` shuts the listener (with ``seconds`` only), ``reset`` takes them and resets them.

    The control interface is refused as well; a connection that is open already goes on.
    """

    kind = "refuse"
    place = Place.ACCEPT
    sentence = "connections are refused ({how})"
    how: Literal["close", "reset"] = "close"


@dataclass(frozen=True, slots=True)
class Cut(Fault):
    """The connection ends inside its body.

    ``after``: so many bytes of the event stream from the stream's start, or from now for an open one; or
    ``into_event``: so many bytes into the next event, counted from its end when negative.
    """

    kind = "cut"
    place = Place.CUT
    after: Count | None = None
    into_event: int | None = None
    how: Ending = "fin"

    def __post_init__(self) -> None:
        if (self.after is None) == (self.into_event is None):
            raise ValueError("a cut wants either after or into_event")

    def told(self) -> str:
        """See ``Fault``."""
        where = f"after {self.after} bytes" if self.into_event is None else f"{self.into_event} bytes into an event"
        return f"streams are cut {where} ({self.how.upper()})"


@dataclass(frozen=True, slots=True)
class Frame(Fault):
    """How the body of a new stream is carried. ``length`` declares so many bytes, which then are all it gets."""

    kind = "frame"
    place = Place.FRAME
    sentence = "streams come as {content_type}, framed {framing}"
    framing: Literal["chunked", "close", "length"] = "chunked"
    length: Count = 0
    gzip: bool = False
    content_type: str = EVENT_STREAM_TYPE


@dataclass(frozen=True, slots=True)
class Silence(Fault):
    """Not a byte, heartbeats neither; then the stream goes on."""

    kind = "silence"
    place = Place.STILL
    sentence = "streams are silent"


@dataclass(frozen=True, slots=True)
class Comments(Fault):
    """Nothing but comment lines; then the stream goes on. ``closed``: with an empty line after each."""

    kind = "comments"
    place = Place.STILL
    sentence = "streams bring nothing but comments"
    interval: Seconds = 0.1
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Drip(Fault):
    """An event that never ends, one byte at a time; then the connection is cut."""

    kind = "drip"
    place = Place.STILL
    sentence = "streams drip an event that never ends"
    interval: Seconds = 0.1


# --- heads


@dataclass(frozen=True, slots=True)
class Status(Fault):
    """Another answer than the one asked for. ``retry_after``: seconds, said as a number or as an HTTP date."""

    kind = "status"
    place = Place.HEAD
    sentence = "requests are answered with {status}"
    status: Annotated[int, Field(ge=200, le=599)] = 503
    retry_after: Annotated[float, Field(ge=0)] | None = None
    retry_after_form: Literal["seconds", "date"] = "seconds"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    content_type: str = "application/json"
    on: Literal["stream", "rest", "all"] = "stream"


@dataclass(frozen=True, slots=True)
class Login(Fault):
    """A page for people, with 200: what a proxy shows that wants a login."""

    kind = "login"
    place = Place.HEAD
    sentence = "requests get a login page"
    on: Literal["stream", "rest", "all"] = "stream"


@dataclass(frozen=True, slots=True)
class Redirect(Fault):
    """Sent away; without ``to`` to a listener of this server under another name, which writes down who came."""

    kind = "redirect"
    place = Place.HEAD
    sentence = "requests are redirected to another host"
    status: Literal[301, 302, 303, 307, 308] = 302
    to: str | None = None
    on: Literal["stream", "rest", "all"] = "stream"


@dataclass(frozen=True, slots=True)
class Mute(Fault):
    """The request is read and never answered; when it is over, the connection is closed."""

    kind = "mute"
    place = Place.HEAD
    sentence = "requests are not answered at all"
    on: Literal["stream", "rest", "all"] = "stream"


# --- ids and replay


@dataclass(frozen=True, slots=True)
class Replay(Fault):
    """The header is ignored: new streams begin with what comes next (``live``) or with the oldest event there is."""

    kind = "replay"
    place = Place.REPLAY
    sentence = "Last-Event-ID is ignored, streams begin {start}"
    start: Literal["live", "oldest"] = "live"


@dataclass(frozen=True, slots=True)
class Skip(Fault):
    """The next ``events`` are left out on a stream; a replay has them."""

    kind = "skip"
    place = Place.SKIP
    sentence = "a stream leaves out {events} events"
    events: Positive = 1


@dataclass(frozen=True, slots=True)
class Drop(Fault):
    """Events that are published (and journalled) reach nobody and are not kept: lost, their ids with them."""

    kind = "drop"
    place = Place.DROP
    sentence = "events are published to nobody"


@dataclass(frozen=True, slots=True)
class Ids(Fault):
    """Other ids: one for ``size`` events (``group``), on each ``size``-th event only (``some``), ``none``, ``uuid``."""

    kind = "ids"
    place = Place.IDS
    sentence = "events have other ids: {scheme}"
    scheme: Literal["group", "some", "none", "uuid"] = "group"
    size: Positive = 3


@dataclass(frozen=True, slots=True)
class OwnIds(Fault):
    """The ids of ``connected`` and ``heartbeat``, as the option ``connection_ids`` says them."""

    kind = "own_ids"
    place = Place.OWN_IDS
    sentence = "connected and heartbeat have ids of the kind {ids}"
    ids: Literal["position", "fresh", "none"] = "fresh"


# --- deeds


@dataclass(frozen=True, slots=True)
class Disconnect(Fault):
    """All streams are cut now."""

    kind = "disconnect"
    place = Place.DEED
    sentence = "streams are cut ({how})"
    how: Ending = "fin"


@dataclass(frozen=True, slots=True)
class Evict(Fault):
    """The replay buffer forgets all but the newest ``keep``."""

    kind = "evict"
    place = Place.DEED
    sentence = "the replay buffer forgets all but {keep} events"
    keep: Count = 0


@dataclass(frozen=True, slots=True)
class Restart(Fault):
    """As if the process had restarted: streams cut, ids go on or start from 1, history kept or forgotten.

    ``down``: seconds without a listener.
    """

    kind = "restart"
    place = Place.DEED
    sentence = "the server restarts: ids {ids}, history {history}"
    ids: Literal["keep", "fresh"] = "keep"
    history: Literal["keep", "forget"] = "keep"
    down: Annotated[float, Field(ge=0)] = 0.0


@dataclass(frozen=True, slots=True)
class Jump(Fault):
    """The next id is higher by ``by``, and nothing is missing."""

    kind = "jump"
    place = Place.DEED
    sentence = "ids jump by {by}"
    by: Positive = 100


@dataclass(frozen=True, slots=True)
class Poison(Fault):
    """An event that trips careless readers is published; ``size`` in the unit of its kind."""

    kind = "poison"
    place = Place.DEED
    sentence = "a poisonous event: {poison}"
    poison: str = "bad_utf8"
    size: Positive | None = None

    def __post_init__(self) -> None:
        if self.poison not in POISONS:
            raise ValueError(f"{self.poison} is unknown, possible are {', '.join(POISONS)}")
