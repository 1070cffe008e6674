"""The faults that the simulated server can inject, as values. Pure.

An ``ImmediateFault`` happens once, when it is requested. All others last; ``requests`` describes for which sessions and
for how long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from bridge.simulator.encoding import EVENT_STREAM_TYPE
from bridge.simulator.faults.malformed_events import MALFORMED_EVENTS

Ending = Literal["fin", "rst", "end"]
"""How a connection ends: FIN without a last chunk, RST, or the regular end of its body."""
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

KINDS: dict[str, type[Fault]] = {}
"""All faults by their name in JSON."""


@dataclass(frozen=True)
class Fault:
    """The base of all faults."""

    kind: ClassVar[str]
    text: ClassVar[str]
    """What happens, for people, with the names of fields in braces."""

    def __init_subclass__(cls, kind: str = "", text: str = "") -> None:
        cls.kind, cls.text = kind, text
        if kind:
            KINDS[kind] = cls

    def fields(self) -> dict[str, Any]:
        """Return the fault's own fields."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def describe(self) -> str:
        """Describe for people what happens."""
        return self.text.format(**self.fields())


@dataclass(frozen=True)
class ImmediateFault(Fault):
    """The base of the faults that happen once."""


@dataclass(frozen=True)
class HoldFault(Fault):
    """The base of the faults that hold a stream back while they last."""


@dataclass(frozen=True)
class HeadFault(Fault):
    """The base of the faults that replace the response."""

    on: Literal["stream", "rest", "all"] = field(default="stream", kw_only=True)
    """Which requests get it: streams, everything else, or both."""


# --- connections


@dataclass(frozen=True)
class Refuse(Fault, kind="refuse", text="connections are refused ({how})"):
    """New connections are refused: ``close`` closes the listener (needs ``seconds``), ``reset`` accepts and resets.

    The control API is refused as well. Open connections continue.
    """

    how: Literal["close", "reset"] = "close"


@dataclass(frozen=True)
class Cut(Fault, kind="cut"):
    """The connection ends inside its body.

    ``after``: this many bytes of the event stream from the stream's start, or from now for an open stream.
    ``into_event``: this many bytes into the next event, counted from its end when negative.
    """

    after: Count | None = None
    into_event: int | None = None
    how: Ending = "fin"

    def __post_init__(self) -> None:
        if (self.after is None) == (self.into_event is None):
            raise ValueError("a cut needs either after or into_event")

    def describe(self) -> str:
        """Describe for people where the stream is cut."""
        where = f"after {self.after} bytes" if self.into_event is None else f"{self.into_event} bytes into an event"
        return f"streams are cut {where} ({self.how.upper()})"


@dataclass(frozen=True)
class Frame(Fault, kind="frame", text="streams come as {content_type}, framed {framing}"):
    """How the body of a new stream is framed. With ``length`` the body has exactly this many bytes."""

    framing: Literal["chunked", "close", "length"] = "chunked"
    length: Count = 0
    gzip: bool = False
    content_type: str = EVENT_STREAM_TYPE


@dataclass(frozen=True)
class Silence(HoldFault, kind="silence", text="streams are silent"):
    """No bytes are sent, not even heartbeats. Then the stream continues."""


@dataclass(frozen=True)
class Comments(HoldFault, kind="comments", text="streams send nothing but comments"):
    """Only comment lines are sent, then the stream continues. ``closed``: an empty line follows each."""

    interval: Seconds = 0.1
    closed: bool = False


@dataclass(frozen=True)
class Drip(HoldFault, kind="drip", text="streams send an endless event byte by byte"):
    """An event that never ends is sent byte by byte. Then the connection is cut."""

    interval: Seconds = 0.1


# --- response heads


@dataclass(frozen=True)
class Status(HeadFault, kind="status", text="requests are answered with {status}"):
    """Another response than the requested one. ``retry_after`` is in seconds, sent as a number or as an HTTP date."""

    status: Annotated[int, Field(ge=200, le=599)] = 503
    retry_after: Annotated[float, Field(ge=0)] | None = None
    retry_after_form: Literal["seconds", "date"] = "seconds"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    content_type: str = "application/json"


@dataclass(frozen=True)
class Login(HeadFault, kind="login", text="requests get a login page"):
    """An HTML page with status 200, as a proxy sends it that requires a login."""


@dataclass(frozen=True)
class Redirect(HeadFault, kind="redirect", text="requests are redirected to another host"):
    """A redirect to ``to``, or by default to a second listener of this server, which logs its requests."""

    status: Literal[301, 302, 303, 307, 308] = 302
    to: str | None = None


@dataclass(frozen=True)
class Mute(HeadFault, kind="mute", text="requests are not answered at all"):
    """The request is read and never answered. The connection is closed when the fault ends."""


# --- ids and replay


@dataclass(frozen=True)
class Replay(Fault, kind="replay", text="Last-Event-ID is ignored, streams begin {start}"):
    """Last-Event-ID is ignored: new streams begin with the next event (``live``) or with the oldest kept event."""

    start: Literal["live", "oldest"] = "live"


@dataclass(frozen=True)
class Skip(Fault, kind="skip", text="a stream leaves out {events} events"):
    """The next ``events`` are left out on a stream. A replay contains them."""

    events: Positive = 1


@dataclass(frozen=True)
class Drop(Fault, kind="drop", text="events are published to nobody"):
    """Events are journalled, but sent to no reader and not kept for replay: they and their ids are lost."""


@dataclass(frozen=True)
class Ids(Fault, kind="ids", text="events have other ids: {scheme}"):
    """Other ids: one per ``size`` events (``group``), on every ``size``-th event (``some``), ``none`` or ``uuid``."""

    scheme: Literal["group", "some", "none", "uuid"] = "group"
    size: Positive = 3


@dataclass(frozen=True)
class OwnIds(Fault, kind="own_ids", text="connected and heartbeat have ids of the kind {ids}"):
    """The ids of ``connected`` and ``heartbeat``, with the values of the option ``connection_ids``."""

    ids: Literal["position", "fresh", "none"] = "fresh"


# --- immediate faults


@dataclass(frozen=True)
class Disconnect(ImmediateFault, kind="disconnect", text="streams are cut ({how})"):
    """All streams are cut now."""

    how: Ending = "fin"


@dataclass(frozen=True)
class Evict(ImmediateFault, kind="evict", text="the replay buffer forgets all but {keep} events"):
    """The replay buffer forgets all but the newest ``keep`` events."""

    keep: Count = 0


@dataclass(frozen=True)
class Restart(ImmediateFault, kind="restart", text="the server restarts: ids {ids}, history {history}"):
    """As if the process restarted: streams are cut, ids continue or restart at 1, history is kept or forgotten.

    ``down``: seconds without a listener.
    """

    ids: Literal["keep", "fresh"] = "keep"
    history: Literal["keep", "forget"] = "keep"
    down: Annotated[float, Field(ge=0)] = 0.0


@dataclass(frozen=True)
class Jump(ImmediateFault, kind="jump", text="ids jump by {by}"):
    """The next id is higher by ``by``, and no event is missing."""

    by: Positive = 100


@dataclass(frozen=True)
class MalformedEvent(ImmediateFault, kind="poison", text="a malformed event: {malformation}"):
    """A malformed event is published. ``size`` is in the unit of its kind."""

    malformation: str = "bad_utf8"
    size: Positive | None = None

    def __post_init__(self) -> None:
        if self.malformation not in MALFORMED_EVENTS:
            raise ValueError(f"{self.malformation} is unknown, possible are {', '.join(MALFORMED_EVENTS)}")
