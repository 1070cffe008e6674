"""The producers that all sessions share: one for events, one for checkpoints, and one for isolation.

A refused request ends the producer of events (see :class:`bridge.kafka.producer.Role`). Checkpoints have their own
producer, so that their failures do not end it; isolated pieces go where a refusal ends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from math import inf

from bridge.clock import monotonic
from bridge.core.entries import Batch
from bridge.delivery.budget import MemoryBudget, UnreportedEntries
from bridge.delivery.protocol import Progress
from bridge.kafka.config import in_thread
from bridge.kafka.producer import IdempotentProducer, Role

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


Ids = Mapping[str, str | None]
"""Topic ids by name; None where the brokers have none."""


class TopicIds:
    """The ids of the topics since the producers were made. Thread rule: the delivery thread.

    In a topic that was deleted and created again, Kafka does not know the producer.
    """

    def __init__(
        self,
        ids: Ids,
        request: Callable[[], Ids | None],
        start: Callable[[Callable[[], Ids | None]], Future[Ids | None]] = in_thread,
    ) -> None:
        """``ids``: at the start; empty: topics are not described.

        ``request`` returns None when Kafka does not answer. It may take seconds, so ``start`` runs it in a thread.
        """
        self._start = start
        self._ids = dict(ids)
        self._request = request
        self._answer: Future[Ids | None] = Future()

    def ask(self) -> None:
        """Request the ids as they are now; never waits."""
        if self._ids:
            self._answer = self._start(self._request)
        else:
            self._answer = Future()
            self._answer.set_result({})

    @property
    def is_answered(self) -> bool:
        """Whether the last ``ask`` has an answer."""
        return self._answer.done()

    def recreated(self) -> frozenset[str] | None:
        """The topics that have another id than when this was last asked; None: that is not known."""
        now = self._answer.result(0)
        if now is None:
            return None
        changed = frozenset(name for name, known in self._ids.items() if now.get(name) != known)
        self._ids.update({name: now.get(name) for name in changed})
        return changed


class Producers:
    """Thread rule: workers produce to ``events``; everything else is the delivery thread's."""

    def __init__(
        self,
        make: Callable[[Role], IdempotentProducer],
        budget: MemoryBudget,
        topics: Callable[[], Iterable[str]],
        heartbeat: Callable[[], None],
        start: Callable[[Callable[[], bool]], Future[bool]] = in_thread,
    ) -> None:
        """``topics``: the bridge's own, because the cluster may have others without leaders.

        ``heartbeat``: called for each batch that is acknowledged: on a slow machine one poll runs reports for many
        seconds. ``start`` runs a question to Kafka that takes seconds.
        """
        self.heartbeat = heartbeat
        self.events, self.checkpoints = make(Role.EVENTS), make(Role.CHECKPOINTS)
        self.unreported = UnreportedEntries(budget)
        self.introduced: dict[Place, float] = {}
        """When the producer of events last had an acknowledgement in a partition.

        Kafka takes any first number of a producer that it does not know, so behind a refused first batch others would
        get in: where there is no acknowledgement, a session's first record goes alone and is waited for. From then on a
        refusal leaves no gap (see Role.EVENTS)."""
        self.isolating: dict[Place, Batch] = {}
        """The piece that is under way in a partition. The isolation producer has one request at a time there, or the
        reports of one session's refused record would blame another session. A partition without a leader delays no
        session of another one, and a session that may not act on its piece's answer delays nobody."""
        self.progress = Progress()
        self.polled_at = monotonic()
        """When the last poll ended: what is reported since was acknowledged later."""
        self._make = make
        self._topics = topics
        self._start = start
        self._isolation: IdempotentProducer | None = None
        self._stuck_after, self._stuck_at = _STUCK, inf
        self._have_leaders: Future[bool] | None = None

    @property
    def isolation(self) -> IdempotentProducer:
        """The producer of isolated pieces, made when it is first needed."""
        if self._isolation is None:
            self._isolation = self._make(Role.ISOLATION)
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
        topics, producer = frozenset(self._topics()), self.checkpoints
        return self._start(lambda: producer.has_leaders(topics, _LEADERS))

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
        self.events, self.checkpoints, self._isolation = self._make(Role.EVENTS), self._make(Role.CHECKPOINTS), None
        self.isolating, self.introduced = {}, {}

    def replace_checkpoints(self) -> None:
        """Purge the checkpoints that are not sent yet: the shard may have another owner by the time they arrive."""
        self.checkpoints.abandon()
        self.checkpoints = self._make(Role.CHECKPOINTS)

    def _all(self) -> list[IdempotentProducer]:
        return [each for each in (self.events, self.checkpoints, self._isolation) if each is not None]
