"""The book of faults: which conditions hold now, whom they have hit, and what there was before.

Thread rule: the server's event loop thread. Clocks are handed in; nothing here waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bridge.simulator.faults.kinds import Fault, Place
from bridge.simulator.faults.requests import Order

# Faults that are over and still told of: a chaos of one a second for half an hour.
_REMEMBERED = 2000


@dataclass(frozen=True, slots=True)
class FaultReport:
    """What is told of a fault when it begins and when it is over."""

    number: int
    order: Order
    what: str
    """A sentence for people."""
    hits: int
    """Requests, streams or events it has met."""
    state: str
    """``active``; ``spent`` when it takes no more, though what it met may still be held; ``over``; ``failed``."""
    begun: float
    """Unix seconds."""
    ended: float | None

    def to_json(self) -> dict[str, Any]:
        """For ``GET /control/faults``."""
        own = {name: getattr(self, name) for name in ("number", "what", "hits", "state", "begun", "ended")}
        return own | {"fault": self.order.to_json()}


class Entry:
    """One fault in the book."""

    __slots__ = ("begun", "due", "ended", "failure", "hits", "number", "order")

    def __init__(self, number: int, order: Order, begun: float, due: float | None) -> None:
        self.number = number
        self.order = order
        self.begun = begun
        self.due = due
        self.hits = 0
        self.ended: float | None = None
        self.failure = ""

    @property
    def fault(self) -> Fault:
        """What it is."""
        return self.order.fault

    @property
    def is_over(self) -> bool:
        """Whatever it holds is to be let go."""
        return self.ended is not None

    @property
    def is_taking(self) -> bool:
        """Whether it meets one more."""
        return not self.is_over and (self.order.times is None or self.hits < self.order.times)

    def report(self) -> FaultReport:
        """As it stands."""
        state = "over" if self.is_over else "active" if self.is_taking else "spent"
        what = self.fault.told()
        if self.failure:
            state, what = "failed", f"{what}: {self.failure}"
        return FaultReport(self.number, self.order, what, self.hits, state, self.begun, self.ended)


class FaultRegistry:
    """See the module. ``tell`` is called with each fault as it begins and as it is over (or spent)."""

    def __init__(
        self, clock: Callable[[], float], unix: Callable[[], float], tell: Callable[[FaultReport], None]
    ) -> None:
        self._clock = clock
        self._unix = unix
        self._tell = tell
        self._active: list[Entry] = []
        self._past: deque[Entry] = deque(maxlen=_REMEMBERED)
        self._watchers: list[Callable[[], None]] = []
        self._count = 0
        self.version = 0
        """Another one whenever a condition began or ended: who has seen this one need not look again."""

    @property
    def is_quiet(self) -> bool:
        """Whether no condition holds."""
        return not self._active

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever a condition has begun or ended."""
        self._watchers.append(changed)

    def begin(self, order: Order) -> Entry:
        """Write a fault down; a deed is over at once."""
        self._count += 1
        due = None if order.seconds is None else self._clock() + order.seconds
        entry = Entry(self._count, order, self._unix(), due)
        if order.fault.place is Place.DEED:
            entry.hits = 1
            entry.ended = entry.begun
            self._past.append(entry)
        else:
            self._active.append(entry)
        self._tell(entry.report())
        self._changed()
        return entry

    def fail(self, order: Order, why: str) -> None:
        """Write a fault down that could not happen."""
        self._count += 1
        entry = Entry(self._count, order, self._unix(), None)
        entry.ended, entry.failure = entry.begun, why
        self._past.append(entry)
        self._tell(entry.report())

    def take(self, place: Place, session: str | None, fits: Callable[[Entry], bool] = lambda _: True) -> Entry | None:
        """The condition that meets this occasion, which is counted; None almost always."""
        if not self._active:
            return None
        found = self.find(place, session, fits)
        if found is not None:
            found.hits += 1
            if not found.is_taking:
                self._tell(found.report())
        return found

    def find(self, place: Place, session: str | None, fits: Callable[[Entry], bool] = lambda _: True) -> Entry | None:
        """The condition that would meet this occasion, not counted."""
        for entry in self._active:
            if entry.is_taking and entry.fault.place is place and entry.order.is_for(session) and fits(entry):
                return entry
        return None

    def clear(self, number: int | None = None) -> int:
        """End one condition, or all; how many there were."""
        return self._end([each for each in self._active if number in {None, each.number}])

    def expire(self) -> float | None:
        """End what is due; the seconds until the next will be, None if none ever is."""
        now = self._clock()
        self._end([each for each in self._active if each.due is not None and each.due <= now])
        return min((each.due - now for each in self._active if each.due is not None), default=None)

    def reports(self) -> list[FaultReport]:
        """All there is and was, oldest first."""
        entries = sorted([*self._past, *self._active], key=lambda each: each.number)
        return [each.report() for each in entries]

    def _end(self, entries: list[Entry]) -> int:
        for entry in entries:
            self._active.remove(entry)
            entry.ended = self._unix()
            self._past.append(entry)
            self._tell(entry.report())
        if entries:
            self._changed()
        return len(entries)

    def _changed(self) -> None:
        self.version += 1
        for changed in self._watchers:
            changed()
