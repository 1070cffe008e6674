"""Rates between two queries of the same daemons. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bridge.admin.status.fleet import SessionStatus


@dataclass(frozen=True, slots=True)
class Rates:
    """Acknowledged records per second, by the name of a session. A session of a new epoch has no rate yet."""

    by_session: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def between(cls, before: Iterable[SessionStatus], now: Iterable[SessionStatus], seconds: float) -> Rates:
        """The rates of the sessions that both queries found in the same epoch; a session may have moved meanwhile."""
        known = {(one.name, one.epoch): one.acknowledged_sequence for one in before}
        found = {one.name: (one.acknowledged_sequence, known.get((one.name, one.epoch))) for one in now}
        return cls(
            {
                name: max(0, acknowledged - former) / seconds
                for name, (acknowledged, former) in found.items()
                if former is not None and seconds > 0
            }
        )

    def of(self, session: SessionStatus) -> float | None:
        """The rate of a session; None if it is not known."""
        return self.by_session.get(session.name)

    def total(self, sessions: Iterable[SessionStatus]) -> float:
        """The rate of all of them together."""
        return sum(self.by_session.get(one.name, 0.0) for one in sessions)

    def is_stuck(self, session: SessionStatus) -> bool:
        """Whether it has records in flight of which none was acknowledged between the queries."""
        return session.in_flight > 0 and self.of(session) == 0.0
