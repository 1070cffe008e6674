"""The faults that the simulated server can inject, as values, and their JSON. Pure.

The JSON has the fault's ``kind`` and its fields::

    {"kind": "cut", "into_event": 12, "how": "rst", "session": "…", "times": 3}

An ``ImmediateFault`` happens once, when it is requested. Any other one applies to the next ``times`` requests or
streams (for ``ids`` and ``drop``: events), for ``seconds``, or until it is cleared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bridge.simulator.encoding import EVENT_STREAM_TYPE
from bridge.simulator.faults.malformed_events import MALFORMED_EVENTS

Ending = Literal["fin", "rst", "end"]
"""How a connection ends: FIN without a last chunk, RST, or the regular end of its body."""
ConnectionIds = Literal["position", "fresh", "none"]
"""The id of the events about the connection (``connected``, ``heartbeat``), which are never replayed.

``position``: the id of the event before them, so that a client's last event id does not change. The contract requires
an id on every event (the published SDK refuses one without), and only this id is safe before a replay. ``fresh``: the
session's next id, which no replay contains: a client that resumes from it sees a jump. ``none``: no id line.
"""
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

KINDS: dict[str, type[Fault]] = {}
"""All faults by their name in JSON."""


class Fault(BaseModel):
    """The base of all faults: for which sessions one applies, and for how long."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)
    kind: ClassVar[str]
    text: ClassVar[str]
    """What happens, for people, with the names of fields in braces."""

    session: str | None = None
    """None: all."""
    times: Positive | None = None
    seconds: Seconds | None = None
    streams: Literal["all", "new"] = "all"
    """Whether the fault applies to streams that are open now, too."""

    def __init_subclass__(cls, kind: str = "", text: str = "") -> None:
        super().__init_subclass__()
        cls.kind, cls.text = kind, text
        if kind:
            KINDS[kind] = cls

    def describe(self) -> str:
        return self.text.format(**dict(self))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that ``parse_fault`` reads."""
        fields = self.model_dump(by_alias=True)
        return {"kind": self.kind} | {name: fields[name] for name in fields if name not in _SCOPE or fields[name]}


_SCOPE = frozenset(Fault.model_fields)


def parse_fault(document: Mapping[str, Any]) -> Fault:
    """Parse a JSON object. ValueError names the wrong field."""
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind is one of {', '.join(KINDS)}")
    own = [field.alias or name for name, field in KINDS[kind].model_fields.items() if name not in _SCOPE]
    if unknown := sorted(set(document) - {"kind", *own, *_SCOPE}):
        raise ValueError(f"{unknown[0]} is unknown, possible are {', '.join(own) or 'none'}")
    try:
        return KINDS[kind].model_validate({name: value for name, value in document.items() if name != "kind"})
    except ValidationError as failure:
        first = failure.errors()[0]
        where, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {message}" if where else message) from None


class ImmediateFault(Fault):
    """The base of the faults that happen once."""


class HoldFault(Fault):
    """The base of the faults that hold a stream back while they last."""


class HeadFault(Fault):
    """The base of the faults that replace the response."""

    on: Literal["stream", "rest", "all"] = "stream"
    """Which requests get it: streams, everything else, or both."""


# --- connections


class Refuse(Fault, kind="refuse", text="connections are refused ({how})"):
    """New connections are refused: ``close`` closes the listener (needs ``seconds``), ``reset`` accepts and resets.

    The control API is refused as well. Open connections continue.
    """

    how: Literal["close", "reset"] = "close"

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.seconds is None and (self.how == "close" or self.times is None):
            raise ValueError("refuse needs seconds: no client could reach the server to clear it")
        return self


class Cut(Fault, kind="cut"):
    """The connection ends inside its body.

    ``after``: this many bytes of the event stream from the stream's start, or from now for an open stream.
    ``into_event``: this many bytes into the next event, counted from its end when negative.
    """

    after: Count | None = None
    into_event: int | None = None
    how: Ending = "fin"

    @model_validator(mode="after")
    def _has_one_place(self) -> Self:
        if (self.after is None) == (self.into_event is None):
            raise ValueError("a cut needs either after or into_event")
        return self

    def describe(self) -> str:
        where = f"after {self.after} bytes" if self.into_event is None else f"{self.into_event} bytes into an event"
        return f"streams are cut {where} ({self.how.upper()})"


class Frame(Fault, kind="frame", text="streams come as {content_type}, framed {framing}"):
    """How the body of a new stream is framed. With ``length`` the body has exactly this many bytes."""

    framing: Literal["chunked", "close", "length"] = "chunked"
    length: Count = 0
    gzip: bool = False
    content_type: str = EVENT_STREAM_TYPE


class Silence(HoldFault, kind="silence", text="streams are silent"):
    """No bytes are sent, not even heartbeats. Then the stream continues."""


class Comments(HoldFault, kind="comments", text="streams send nothing but comments"):
    """Only comment lines are sent, then the stream continues. ``closed``: an empty line follows each."""

    interval: Seconds = 0.1
    closed: bool = False


class Drip(HoldFault, kind="drip", text="streams send an endless event byte by byte"):
    """An event that never ends is sent byte by byte. Then the connection is cut."""

    interval: Seconds = 0.1


# --- response heads


class Status(HeadFault, kind="status", text="requests are answered with {status}"):
    """Another response than the requested one. ``retry_after`` is in seconds, sent as a number or as an HTTP date."""

    status: Annotated[int, Field(ge=200, le=599)] = 503
    retry_after: Annotated[float, Field(ge=0)] | None = None
    retry_after_form: Literal["seconds", "date"] = "seconds"
    headers: Mapping[str, str] = Field(default_factory=dict)
    body: str | None = None
    content_type: str = "application/json"


class Login(HeadFault, kind="login", text="requests get a login page"):
    """An HTML page with status 200, as a proxy sends it that requires a login."""


class Redirect(HeadFault, kind="redirect", text="requests are redirected to another host"):
    """A redirect to ``to``, or by default to a second listener of this server, which logs its requests."""

    status: Literal[301, 302, 303, 307, 308] = 302
    to: str | None = None


class Mute(HeadFault, kind="mute", text="requests are not answered at all"):
    """The request is read and never answered. The connection is closed when the fault ends."""


# --- ids and replay


class Replay(Fault, kind="replay", text="Last-Event-ID is ignored, streams begin {start}"):
    """Last-Event-ID is ignored: new streams begin with the next event (``live``) or with the oldest kept event."""

    start: Literal["live", "oldest"] = "live"


class Skip(Fault, kind="skip", text="a stream leaves out {events} events"):
    """The next ``events`` are left out on a stream. A replay contains them."""

    events: Positive = 1


class Drop(Fault, kind="drop", text="events are published to nobody"):
    """Events are journalled, but sent to no reader and not kept for replay: they and their ids are lost."""


class Ids(Fault, kind="ids", text="events have other ids: {scheme}"):
    """Other ids: one per ``size`` events (``group``), on every ``size``-th event (``some``), ``none`` or ``uuid``."""

    scheme: Literal["group", "some", "none", "uuid"] = "group"
    size: Positive = 3


class OwnIds(Fault, kind="own_ids", text="connected and heartbeat have ids of the kind {ids}"):
    """The ids of ``connected`` and ``heartbeat``, with the values of the option ``connection_ids``."""

    ids: ConnectionIds = "fresh"


# --- immediate faults


class Disconnect(ImmediateFault, kind="disconnect", text="streams are cut ({how})"):
    """All streams are cut now."""

    how: Ending = "fin"


class Evict(ImmediateFault, kind="evict", text="the replay buffer forgets all but {keep} events"):
    """The replay buffer forgets all but the newest ``keep`` events."""

    keep: Count = 0


class Restart(ImmediateFault, kind="restart", text="the server restarts: ids {ids}, history {history}"):
    """As if the process restarted: streams are cut, ids continue or restart at 1, history is kept or forgotten.

    ``down``: seconds without a listener.
    """

    ids: Literal["keep", "fresh"] = "keep"
    history: Literal["keep", "forget"] = "keep"
    down: Annotated[float, Field(ge=0)] = 0.0


class Jump(ImmediateFault, kind="jump", text="ids jump by {by}"):
    """The next id is higher by ``by``, and no event is missing."""

    by: Positive = 100


class MalformedEvent(ImmediateFault, kind="poison", text="a malformed event: {malformation}"):
    """A malformed event is published. ``size`` is in the unit of its kind."""

    malformation: str = Field("bad_utf8", alias="poison")
    size: Positive | None = None

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if self.malformation not in MALFORMED_EVENTS:
            raise ValueError(f"{self.malformation} is unknown, possible are {', '.join(MALFORMED_EVENTS)}")
        return self
