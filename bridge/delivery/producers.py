"""The producers that all sessions share: one for events, one for positions, and one for records on trial.

A batch that Kafka refuses ends the producer of events (see :class:`bridge.kafka.producer.Role`). Positions have a
producer of their own so that no trouble of theirs ends it, and what is on trial goes where a refusal ends nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bridge.kafka.producer import IdempotentProducer, Role


@dataclass(slots=True)
class Producers:
    """Thread rule: workers produce to ``events``; everything else is the delivery thread's."""

    make: Callable[[Role], IdempotentProducer]
    events: IdempotentProducer
    positions: IdempotentProducer
    _trial: IdempotentProducer | None = None

    @classmethod
    def made_by(cls, make: Callable[[Role], IdempotentProducer]) -> Producers:
        """A first set."""
        return cls(make, make(Role.EVENTS), make(Role.POSITIONS))

    @property
    def trial(self) -> IdempotentProducer:
        """The producer whose batches hold one record: made when it is first needed, which is hardly ever."""
        if self._trial is None:
            self._trial = self.make(Role.TRIAL)
        return self._trial

    @property
    def fatal(self) -> str | None:
        """Why one of them is finished; None while all live."""
        return next((each.fatal for each in self._all() if each.fatal is not None), None)

    def poll(self, seconds: float, *, on_trial: bool, on_mark: bool) -> None:
        """Run the reports that are due; wait up to ``seconds`` for the producer that something waits for."""
        self.events.poll(0 if on_trial or on_mark else seconds)
        self.positions.poll(seconds if on_mark and not on_trial else 0)
        if self._trial is not None:
            self._trial.poll(seconds if on_trial else 0)

    def replace(self) -> None:
        """Give all of them up, and make new ones."""
        for each in self._all():
            each.abandon()
        self.events, self.positions, self._trial = self.make(Role.EVENTS), self.make(Role.POSITIONS), None

    def _all(self) -> list[IdempotentProducer]:
        return [each for each in (self.events, self.positions, self._trial) if each is not None]
