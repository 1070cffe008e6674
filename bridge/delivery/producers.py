"""The producers that all sessions share: one for events, one for checkpoints, and one for isolation.

A refused request ends the producer of events (see :class:`bridge.kafka.producer.Role`). Checkpoints have their own
producer, so that their failures do not end it; isolated pieces go where a refusal ends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf

from bridge.clock import monotonic
from bridge.delivery.progress import Progress
from bridge.kafka.producer import IdempotentProducer, Role

_FORGOTTEN = 3600.0
"""Seconds without an acknowledgement in a partition after which a producer may be unknown there again
(producer.id.expiration.ms: a day)."""

_STUCK, _LONGEST = 60.0, 960.0
"""Seconds without any acknowledgement, while something waits, after which the producers are replaced; doubled each time
that this does not help."""
_ASK_AGAIN = 10.0
"""Seconds between two questions whether the partitions have leaders."""
_LEADERS = 1.0
"""Seconds to wait for the answer: meanwhile nothing is delivered, but nothing was for a minute."""

Place = tuple[str, object]
"""A topic and its partition."""


def are_known(introduced: Mapping[Place, float], places: Iterable[Place]) -> bool:
    """Whether Kafka surely knows the producer in these partitions."""
    since = monotonic() - _FORGOTTEN
    return all(introduced.get(place, -inf) > since for place in places)


@dataclass(slots=True)
class Producers:
    """Thread rule: workers produce to ``events``; everything else is the delivery thread's."""

    make: Callable[[Role], IdempotentProducer]
    events: IdempotentProducer
    checkpoints: IdempotentProducer
    introduced: dict[Place, float] = field(default_factory=dict)
    """When the producer of events last had an acknowledgement in a partition.

    Kafka takes any first number of a producer that it does not know, so behind a refused first batch others would get
    in: where there is no acknowledgement, a session's first record goes alone and is waited for. From then on a refusal
    leaves no gap (see Role.EVENTS)."""
    isolating: object = None
    """The session whose piece is under way: the isolation producer has one request at a time, or the reports of one
    session's refused record would blame another session."""
    progress: Progress = field(default_factory=Progress)
    polled_at: float = field(default_factory=lambda: monotonic())  # noqa: PLW0108 - looked up when it is called
    """When the last poll ended: what is reported since was acknowledged later."""
    _isolation: IdempotentProducer | None = None
    _stuck_after: float = _STUCK
    _stuck_at: float = inf

    @classmethod
    def made_by(cls, make: Callable[[Role], IdempotentProducer]) -> Producers:
        """A first set."""
        return cls(make, make(Role.EVENTS), make(Role.CHECKPOINTS))

    @property
    def isolation(self) -> IdempotentProducer:
        """The producer of isolated pieces, made when it is first needed."""
        if self._isolation is None:
            self._isolation = self.make(Role.ISOLATION)
        return self._isolation

    @property
    def fatal(self) -> str | None:
        """The fatal error of one of them; None while all can be used."""
        return next((each.fatal for each in self._all() if each.fatal is not None), None)

    def check_progress(self, now: float, *, has_answers: bool, waits: bool) -> str | None:
        """Why the producers must be replaced although none has failed; None: they need not be.

        A client may be stuck although metadata shows leaders: then a new one delivers from memory. It is not asked for
        by a quota, or while partitions have no leaders. ``waits``: something waits to be produced.
        """
        for each in self._all():
            self.progress.note_throttle(each.throttle)
        has_outstanding = any(each.outstanding for each in self._all())
        if has_answers:
            self._stuck_after = _STUCK
        is_idle = not (waits or has_outstanding)
        if has_answers or is_idle:
            self.progress.note(is_idle=is_idle)
        else:
            self.progress.begin()
        if has_answers or not has_outstanding:
            self._stuck_at = now + self._stuck_after
        waiting = self.progress.waiting
        if now < self._stuck_at or waiting.is_throttled:
            return None
        if not self.checkpoints.has_leaders(_LEADERS):
            self._stuck_at = now + _ASK_AGAIN
            return None
        self._stuck_after = min(2 * self._stuck_after, _LONGEST)
        self._stuck_at = now + self._stuck_after
        return f"nothing was acknowledged for {waiting.seconds:.0f} s, and all partitions have leaders"

    def poll(self, seconds: float, *, awaits_checkpoint: bool) -> None:
        """Run the reports that are due; wait up to ``seconds`` for the producer that something waits for."""
        is_isolating = self.isolating is not None
        self.events.poll(0 if is_isolating or awaits_checkpoint else seconds)
        self.checkpoints.poll(seconds if awaits_checkpoint and not is_isolating else 0)
        if self._isolation is not None and is_isolating:
            self._isolation.flush(seconds)
        self.polled_at = monotonic()

    def replace(self) -> None:
        """Purge all of them, and make new ones. What has no report by then will never have one."""
        for each in self._all():
            each.abandon()
        self.events, self.checkpoints, self._isolation = self.make(Role.EVENTS), self.make(Role.CHECKPOINTS), None
        self.isolating, self.introduced = None, {}

    def replace_checkpoints(self) -> None:
        """Purge the checkpoints that are not sent yet: the shard may have another owner by the time they arrive."""
        self.checkpoints.abandon()
        self.checkpoints = self.make(Role.CHECKPOINTS)

    def _all(self) -> list[IdempotentProducer]:
        return [each for each in (self.events, self.checkpoints, self._isolation) if each is not None]
