"""The registry of faults: which are active, how often each applied, and which ended.

Nothing here waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, cast

from bridge.clock import unix_ms
from bridge.simulator.faults.kinds import Fault, ImmediateFault

F_co = TypeVar("F_co", bound=Fault, covariant=True)

# Ended faults that are still listed: a chaos of one fault a second for half an hour.
_REMEMBERED = 2000


@dataclass(slots=True, eq=False)
class FaultRecord(Generic[F_co]):
    """One fault and what became of it."""

    number: int
    fault: F_co
    begun: float
    """Unix seconds."""
    hits: int = 0
    """Requests, streams or events that it applied to."""
    ended: float | None = None
    failure: str = ""
    """Why it could not happen."""

    @property
    def is_over(self) -> bool:
        """Whether everything that the fault holds must be released."""
        return self.ended is not None

    @property
    def is_accepting(self) -> bool:
        """Whether the fault applies to one more request, stream or event."""
        return not self.is_over and (self.fault.times is None or self.hits < self.fault.times)

    @property
    def state(self) -> str:
        """``active``, ``spent`` (applies to nothing new, but may still hold streams), ``over`` or ``failed``."""
        if self.failure:
            return "failed"
        return "over" if self.is_over else "active" if self.is_accepting else "spent"

    @property
    def description(self) -> str:
        text = self.fault.describe()
        return f"{text}: {self.failure}" if self.failure else text

    def to_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "what": self.description,
            "hits": self.hits,
            "state": self.state,
            "begun": self.begun,
            "ended": self.ended,
            "fault": self.fault.to_json(),
        }


class FaultRegistry:
    """Holds all faults. ``on_change`` gets a copy of each record as its fault begins, is spent and ends."""

    def __init__(self, on_change: Callable[[FaultRecord[Fault]], None]) -> None:
        self._on_change = on_change
        self._active: list[FaultRecord[Fault]] = []
        self._past: deque[FaultRecord[Fault]] = deque(maxlen=_REMEMBERED)
        self._watchers: list[Callable[[], None]] = []
        self._count = 0
        self.version = 0
        """Rises whenever a fault begins or ends: a reader that saw this version need not look again."""

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever a fault begins or ends."""
        self._watchers.append(changed)

    def begin(self, fault: Fault) -> FaultRecord[Fault]:
        """Add a fault. An immediate one is over at once."""
        record = self._record(fault)
        if isinstance(fault, ImmediateFault):
            record.hits, record.ended = 1, record.begun
            self._past.append(record)
        else:
            self._active.append(record)
        self._report(record)
        self._changed()
        return record

    def fail(self, fault: Fault, reason: str) -> None:
        record = self._record(fault)
        record.ended, record.failure = record.begun, reason
        self._past.append(record)
        self._report(record)

    def hit(
        self, kind: type[F_co], session: str | None, fits: Callable[[FaultRecord[F_co]], bool] = lambda _: True
    ) -> FaultRecord[F_co] | None:
        """Return the oldest fault of this kind that applies to the session, and count it. None is the usual answer."""
        found = self.find(kind, session, fits)
        if found is not None:
            found.hits += 1
            if not found.is_accepting:
                self._report(found)
        return found

    def find(
        self, kind: type[F_co], session: str | None, fits: Callable[[FaultRecord[F_co]], bool] = lambda _: True
    ) -> FaultRecord[F_co] | None:
        """Return the fault that would apply, without counting it."""
        for record in self._active:
            if record.is_accepting and isinstance(record.fault, kind) and record.fault.session in {None, session}:
                candidate = cast("FaultRecord[F_co]", record)
                if fits(candidate):
                    return candidate
        return None

    def clear(self, number: int | None = None) -> int:
        """End one fault, or all. Return how many ended."""
        ended = [each for each in self._active if number in {None, each.number}]
        for record in ended:
            self._active.remove(record)
            record.ended = unix_ms() / 1000
            self._past.append(record)
            self._report(record)
        if ended:
            self._changed()
        return len(ended)

    def records(self) -> list[FaultRecord[Fault]]:
        """Return copies of all records, oldest first."""
        return [replace(each) for each in sorted([*self._past, *self._active], key=lambda each: each.number)]

    def _record(self, fault: Fault) -> FaultRecord[Fault]:
        self._count += 1
        return FaultRecord(self._count, fault, unix_ms() / 1000)

    def _report(self, record: FaultRecord[Fault]) -> None:
        self._on_change(replace(record))

    def _changed(self) -> None:
        self.version += 1
        for changed in self._watchers:
            changed()
