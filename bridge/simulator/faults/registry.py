"""The registry of faults: which are active, how often each applied, and which ended.

Thread rule: the server's event loop thread. Clocks are arguments; nothing here waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from bridge.simulator.faults.kinds import Fault, ImmediateFault
from bridge.simulator.faults.requests import FaultRequest

F = TypeVar("F", bound=Fault)

# Ended faults that are still listed: a chaos of one fault a second for half an hour.
_REMEMBERED = 2000


@dataclass(slots=True, eq=False)
class FaultRecord:
    """One fault: its request and what became of it."""

    number: int
    request: FaultRequest
    begun: float
    """Unix seconds."""
    due: float | None = None
    """When it ends, by the monotonic clock. None: when it is cleared."""
    hits: int = 0
    """Requests, streams or events that it applied to."""
    ended: float | None = None
    failure: str = ""
    """Why it could not happen."""

    @property
    def fault(self) -> Fault:
        """The requested fault."""
        return self.request.fault

    @property
    def is_over(self) -> bool:
        """Whether everything that the fault holds must be released."""
        return self.ended is not None

    @property
    def is_accepting(self) -> bool:
        """Whether the fault applies to one more request, stream or event."""
        return not self.is_over and (self.request.times is None or self.hits < self.request.times)

    @property
    def state(self) -> str:
        """``active``, ``spent`` (applies to nothing new, but may still hold streams), ``over`` or ``failed``."""
        if self.failure:
            return "failed"
        return "over" if self.is_over else "active" if self.is_accepting else "spent"

    @property
    def description(self) -> str:
        """What happens, for people."""
        text = self.fault.describe()
        return f"{text}: {self.failure}" if self.failure else text

    def to_json(self) -> dict[str, Any]:
        """Return the record as ``GET /control/faults`` lists it."""
        return {
            "number": self.number,
            "what": self.description,
            "hits": self.hits,
            "state": self.state,
            "begun": self.begun,
            "ended": self.ended,
            "fault": self.request.to_json(),
        }


def _always(_: FaultRecord) -> bool:
    return True


class FaultRegistry:
    """Holds all faults. ``on_change`` gets a copy of each record as its fault begins, is spent and ends."""

    def __init__(
        self, clock: Callable[[], float], unix: Callable[[], float], on_change: Callable[[FaultRecord], None]
    ) -> None:
        self._clock = clock
        self._unix = unix
        self._on_change = on_change
        self._active: list[FaultRecord] = []
        self._past: deque[FaultRecord] = deque(maxlen=_REMEMBERED)
        self._watchers: list[Callable[[], None]] = []
        self._count = 0
        self.version = 0
        """Rises whenever a fault begins or ends: a reader that saw this version need not look again."""

    @property
    def is_empty(self) -> bool:
        """Whether no fault is active."""
        return not self._active

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever a fault begins or ends."""
        self._watchers.append(changed)

    def begin(self, request: FaultRequest) -> FaultRecord:
        """Add a fault. An immediate one is over at once."""
        record = self._record(request)
        if isinstance(request.fault, ImmediateFault):
            record.hits, record.ended = 1, record.begun
            self._past.append(record)
        else:
            record.due = None if request.seconds is None else self._clock() + request.seconds
            self._active.append(record)
        self._report(record)
        self._changed()
        return record

    def fail(self, request: FaultRequest, reason: str) -> None:
        """Add a fault that could not happen."""
        record = self._record(request)
        record.ended, record.failure = record.begun, reason
        self._past.append(record)
        self._report(record)

    def hit(
        self, kind: type[Fault], session: str | None, fits: Callable[[FaultRecord], bool] = _always
    ) -> FaultRecord | None:
        """Return the oldest fault of this kind that applies to the session, and count it. None is the usual answer."""
        found = self.find(kind, session, fits)
        if found is not None:
            found.hits += 1
            if not found.is_accepting:
                self._report(found)
        return found

    def hit_fault(self, kind: type[F], session: str | None) -> F | None:
        """Return only the fault of ``hit``."""
        record = self.hit(kind, session)
        return record.fault if record is not None and isinstance(record.fault, kind) else None

    def find(
        self, kind: type[Fault], session: str | None, fits: Callable[[FaultRecord], bool] = _always
    ) -> FaultRecord | None:
        """Return the fault that would apply, without counting it."""
        for record in self._active:
            is_candidate = record.is_accepting and isinstance(record.fault, kind)
            if is_candidate and record.request.applies_to(session) and fits(record):
                return record
        return None

    def clear(self, number: int | None = None) -> int:
        """End one fault, or all. Return how many ended."""
        return self._end([each for each in self._active if number in {None, each.number}])

    def expire(self) -> float | None:
        """End the faults that are due. Return the seconds until the next one is due."""
        now = self._clock()
        self._end([each for each in self._active if each.due is not None and each.due <= now])
        return min((each.due - now for each in self._active if each.due is not None), default=None)

    def records(self) -> list[FaultRecord]:
        """Return copies of all records, oldest first."""
        return [replace(each) for each in sorted([*self._past, *self._active], key=lambda each: each.number)]

    def _record(self, request: FaultRequest) -> FaultRecord:
        self._count += 1
        return FaultRecord(self._count, request, self._unix())

    def _end(self, records: list[FaultRecord]) -> int:
        for record in records:
            self._active.remove(record)
            record.ended = self._unix()
            self._past.append(record)
            self._report(record)
        if records:
            self._changed()
        return len(records)

    def _report(self, record: FaultRecord) -> None:
        self._on_change(replace(record))

    def _changed(self) -> None:
        self.version += 1
        for changed in self._watchers:
            changed()
