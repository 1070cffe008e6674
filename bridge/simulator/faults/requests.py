"""A fault, for which sessions and for how long, and its JSON. Pure.

The JSON has the fault's ``kind``, the fault's own fields and those of :class:`FaultRequest`::

    {"kind": "cut", "into_event": 12, "how": "rst", "session": "…", "times": 3}

A fault that lasts applies to the next ``times`` requests or streams (for ``ids`` and ``drop``: events), for
``seconds``, or until it is cleared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Literal

from pydantic import InstanceOf, TypeAdapter, ValidationError

from bridge.simulator.faults.kinds import KINDS, Fault, Positive, Refuse, Seconds

_SCOPE = ("session", "times", "seconds", "streams")
_WIRE_NAMES = {"malformation": "poison"}
"""Fields whose name in JSON is not the one in Python."""


@dataclass(frozen=True, slots=True)
class FaultRequest:
    """A fault, for which sessions and for how long."""

    fault: InstanceOf[Fault]
    session: str | None = None
    """None: all."""
    times: Positive | None = None
    seconds: Seconds | None = None
    streams: Literal["all", "new"] = "all"
    """Whether the fault applies to streams that are open now, too."""

    def __post_init__(self) -> None:
        if not isinstance(self.fault, Refuse) or self.seconds is not None:
            return
        if self.fault.how == "close" or self.times is None:
            raise ValueError("refuse needs seconds: no client could reach the server to clear it")

    def applies_to(self, session: str | None) -> bool:
        """Whether the fault applies to this session."""
        return self.session is None or self.session == session

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that ``from_json`` reads."""
        own = {_WIRE_NAMES.get(name, name): value for name, value in self.fault.fields().items()}
        scope = {name: value for name in _SCOPE if (value := getattr(self, name)) is not None}
        return {"kind": self.fault.kind, **own, **scope}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> FaultRequest:
        """Parse a JSON object. ValueError names the wrong field."""
        kind = document.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"kind is one of {', '.join(KINDS)}")
        own = {name: value for name, value in document.items() if name not in {"kind", *_SCOPE}}
        scope = {name: document[name] for name in _SCOPE if name in document}
        request: FaultRequest = _validated(cls, {"fault": _validated(KINDS[kind], own), **scope})
        return request


def _validated(kind: type[Any], values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - one of the classes above
    names = {_WIRE_NAMES.get(each.name, each.name): each.name for each in fields(kind)}
    if unknown := sorted(set(values) - set(names)):
        raise ValueError(f"{unknown[0]} is unknown, possible are {', '.join(names) or 'none'}")
    try:
        return _adapter(kind).validate_python({names[name]: value for name, value in values.items()})  # type: ignore[arg-type] # a type is hashable
    except ValidationError as failure:
        first = failure.errors()[0]
        where = ".".join(_WIRE_NAMES.get(str(part), str(part)) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {message}" if where else message) from None


@cache  # making one takes milliseconds
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
