"""A fault, for whom and for how long; and how it is asked for in JSON. Pure.

An order in JSON is the fault's ``kind``, the fault's own fields, and those of :class:`Order`::

    {"kind": "cut", "into_event": 12, "how": "rst", "session": "…", "times": 3}

A condition lasts for the next ``times`` occasions (requests or streams; for ``ids`` and ``drop`` events), for
``seconds``, or until it is cleared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Literal

from pydantic import InstanceOf, TypeAdapter, ValidationError

from bridge.simulator.faults import kinds as faults
from bridge.simulator.faults.kinds import Fault, Positive, Refuse, Seconds

_ALL: tuple[type[Fault], ...] = (
    *(faults.Refuse, faults.Cut, faults.Frame, faults.Silence, faults.Comments, faults.Drip),
    *(faults.Status, faults.Login, faults.Redirect, faults.Mute),
    *(faults.Replay, faults.Skip, faults.Drop, faults.Ids, faults.OwnIds),
    *(faults.Disconnect, faults.Evict, faults.Restart, faults.Jump, faults.Poison),
)
KINDS: Mapping[str, type[Fault]] = {each.kind: each for each in _ALL}
"""All faults by name."""


@dataclass(frozen=True, slots=True)
class Order:
    """A fault, for whom and for how long."""

    fault: InstanceOf[Fault]
    session: str | None = None
    """None: all."""
    times: Positive | None = None
    seconds: Seconds | None = None
    streams: Literal["all", "new"] = "all"
    """Whether streams that are open now are hit too."""

    def __post_init__(self) -> None:
        if not isinstance(self.fault, Refuse) or self.seconds is not None:
            return
        if self.fault.how == "close" or self.times is None:
            raise ValueError("refuse wants seconds: nobody could reach the server to clear it")

    def is_for(self, session: str | None) -> bool:
        """Whether it concerns this session."""
        return self.session is None or self.session == session

    def to_json(self) -> dict[str, Any]:
        """What ``order_of`` reads."""
        scope = {name: value for name in _SCOPE if (value := getattr(self, name)) is not None}
        return {"kind": self.fault.kind, **self.fault.fields(), **scope}


_SCOPE = ("session", "times", "seconds", "streams")


def order_of(asked: Mapping[str, Any]) -> Order:
    """The order in a JSON object; ValueError says what is wrong with it."""
    kind = asked.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind is one of {', '.join(KINDS)}")
    own = {name: value for name, value in asked.items() if name not in {"kind", *_SCOPE}}
    scope = {name: asked[name] for name in _SCOPE if name in asked}
    order: Order = _built(Order, {"fault": _built(KINDS[kind], own), **scope})
    return order


def _built(kind: type[Any], asked: Mapping[str, Any]) -> Any:  # noqa: ANN401 - one of the classes above
    possible = [each.name for each in fields(kind)]
    if unknown := sorted(set(asked) - set(possible)):
        raise ValueError(f"{unknown[0]} is unknown, possible are {', '.join(possible) or 'none'}")
    try:
        return _adapter(kind).validate_python(dict(asked))  # type: ignore[arg-type] # a type is hashable
    except ValidationError as wrong:
        first = wrong.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {what}" if where else what) from None


@cache  # making one takes milliseconds
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
