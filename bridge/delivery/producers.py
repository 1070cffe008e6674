"""The producers that all sessions share: one for events, one for checkpoints, and one for isolation.

A refused request ends the producer of events (see :class:`bridge.kafka.producer.Role`). Checkpoints have their own
producer, so that their failures do not end it; isolated pieces go where a refusal ends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from math import inf

from bridge.clock import monotonic
from bridge.core.entries import Batch
from bridge.delivery.budget import UnreportedEntries
from bridge.delivery.progress import Progress
from bridge.delivery.topic_ids import in_thread
from bridge.kafka.producer import IdempotentProducer, Role

_FORGOTTEN = 3600.0
"""Seconds without an acknowledgement in a partition after which a producer may be unknown there again
(producer.id.expiration.ms: a day)."""

_STUCK, _LONGEST = 60.0, 960.0
"""Seconds without any acknowledgement, while something waits, after which the producers are replaced; doubled each time
that this does not help."""
_ASK_AGAIN = 10.0
"""Seconds between two questions whether the partitions have leaders."""
_LEADERS = 5.0
"""Seconds to wait for the answer, in a thread of its own."""

_FEW_SESSIONS = 100
"""With at most so many sessions a turn for each record is cheap, so that it need not linger: a turn looks at all."""

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
    topics: Callable[[], Iterable[str]]
    """The bridge's own: the cluster may have others without leaders."""
    heartbeat: Callable[[], None]
    """Called for each batch that is acknowledged: on a slow machine one poll runs reports for many seconds."""
    start: Callable[[Callable[[], None]], None] = in_thread
    """Runs a question to Kafka that takes seconds."""
    unreported: UnreportedEntries = field(default_factory=UnreportedEntries)
    introduced: dict[Place, float] = field(default_factory=dict)
    """When the producer of events last had an acknowledgement in a partition.

    Kafka takes any first number of a producer that it does not know, so behind a refused first batch others would get
    in: where there is no acknowledgement, a session's first record goes alone and is waited for. From then on a refusal
    leaves no gap (see Role.EVENTS)."""
    isolating: dict[Place, Batch] = field(default_factory=dict)
    """The piece that is under way in a partition. The isolation producer has one request at a time there, or the
    reports of one session's refused record would blame another session. A partition without a leader delays no session
    of another one, and a session that may not act on its piece's answer delays nobody."""
    progress: Progress = field(default_factory=Progress)
    polled_at: float = field(default_factory=lambda: monotonic())  # noqa: PLW0108 - looked up when it is called
    """When the last poll ended: what is reported since was acknowledged later."""
    _isolation: IdempotentProducer | None = None
    _stuck_after: float = _STUCK
    _stuck_at: float = inf
    _have_leaders: Future[bool] | None = None

    @classmethod
    def made_by(
        cls,
        make: Callable[[Role], IdempotentProducer],
        topics: Callable[[], Iterable[str]],
        heartbeat: Callable[[], None],
    ) -> Producers:
        """A first set."""
        return cls(make, make(Role.EVENTS), make(Role.CHECKPOINTS), topics, heartbeat)

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
        if self.unreported.are_many:
            return "records of sessions that were revoked fill the memory"
        waiting = self.progress.waiting
        if now < self._stuck_at or waiting.is_throttled:
            self._have_leaders = None
            return None
        answer = self._have_leaders = self._have_leaders or self._ask_for_leaders()
        if not answer.done():
            return None
        self._have_leaders = None
        if not answer.result():
            self._stuck_at = now + _ASK_AGAIN
            return None
        self._stuck_after = min(2 * self._stuck_after, _LONGEST)
        self._stuck_at = now + self._stuck_after
        return f"nothing was acknowledged for {waiting.seconds:.0f} s, and all partitions have leaders"

    def _ask_for_leaders(self) -> Future[bool]:
        answer, topics, producer = Future[bool](), frozenset(self.topics()), self.checkpoints
        self.start(lambda: answer.set_result(producer.has_leaders(topics, _LEADERS)))
        return answer

    def poll(self, seconds: float, *, awaits_checkpoint: bool, sessions: int) -> None:
        """Run the reports that are due; wait up to ``seconds`` for the producer that something waits for."""
        is_isolating = bool(self.isolating)
        self.events.always_lingers = sessions > _FEW_SESSIONS
        self.events.poll(0 if is_isolating or awaits_checkpoint else seconds)
        self.checkpoints.poll(seconds if awaits_checkpoint and not is_isolating else 0)
        if self._isolation is not None and is_isolating:
            self._isolation.flush(seconds)
        self.polled_at = monotonic()
        self.unreported.free_reported()
        self.isolating = {place: piece for place, piece in self.isolating.items() if piece.is_unreported}

    def replace(self) -> None:
        """Purge all of them, and make new ones. What has no report by then will never have one."""
        for each in self._all():
            each.abandon()
        self.unreported.free_all()
        self.events, self.checkpoints, self._isolation = self.make(Role.EVENTS), self.make(Role.CHECKPOINTS), None
        self.isolating, self.introduced = {}, {}

    def replace_checkpoints(self) -> None:
        """Purge the checkpoints that are not sent yet: the shard may have another owner by the time they arrive."""
        self.checkpoints.abandon()
        self.checkpoints = self.make(Role.CHECKPOINTS)

    def _all(self) -> list[IdempotentProducer]:
        return [each for each in (self.events, self.checkpoints, self._isolation) if each is not None]
