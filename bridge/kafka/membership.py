"""Membership in the consumer group that shares the shards: which are this process's, and the proof that they still are.

Kafka's own group protocol decides who owns which partition of the checkpoints topic. Nothing is read here: the
partitions are paused from the start. What is committed for them is no position but this process's badge, and a commit
that the group accepts is the proof of membership.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.badge import Badge, decode, encode
from bridge.core.roll_call import RollCall
from bridge.errors import BridgeError, Stopped, Unreachable
from bridge.kafka.clients import client_logger, settings_judged
from bridge.kafka.faults import error_of, in_words
from bridge.kafka.group_faults import Standing, fenced, obstacle_to_joining, standing_of
from bridge.kafka.group_look import GroupLook, GroupSeen, awaited
from bridge.kafka.namesake import Namesake, check_company
from bridge.kafka.proofs import Proofs

log = get_logger("bridge.membership")

_MAX_POLL_INTERVAL = 90.0
"""Seconds after which a rebalance goes on without a member that does not come."""
_TURN = 0.05
"""Seconds of one turn: how late a question for a proof, or a stop, is noticed."""
_SLOWEST_BEAT = 1.0
_LOOK_AGAIN = 0.5
"""Seconds between two looks at a group that cannot be joined yet."""
_ROLL_EVERY, _ROLL_PATIENCE = 5.0, 11.0
"""Seconds: two readings that find the same beat are one too many."""
_FIRST_ROLL = 1.5
"""Seconds until the second reading: one alone tells of no life."""
_LAST_WORD = 2.0
"""Seconds that the last badge of an orderly stop may take."""
_REMIND = 60.0
"""Seconds after which the same complaint of the group is said again."""


class Listener(Protocol):
    """Who works on the shards. Called on the membership thread, and returns at once."""

    def assigned(self, shards: frozenset[int]) -> None:
        """They are this process's now."""
        ...

    def revoked(self, shards: frozenset[int]) -> threading.Event:
        """They are to be given up; the event is set when that is done.

        Not done within ``give_up_within`` seconds, ``lost`` is called for them.
        """
        ...

    def lost(self, shards: frozenset[int]) -> None:
        """They are somebody else's, as of now or since a while: nothing more may be handed over."""
        ...


@dataclass(frozen=True, slots=True)
class _Leaving:
    """Shards that the listener is just giving up."""

    shards: frozenset[int]
    partitions: list[TopicPartition]
    """Those that the client waits for; empty at the end, when all goes."""
    released: threading.Event
    deadline: float


class Membership:
    """One member of the group.

    Thread rule: ``start`` once, by its owner; ``stop``, ``abort``, ``join``, ``roll``, ``ask``, ``prove`` and the
    attributes are for any thread; the rest is the membership thread's.
    """

    def __init__(  # noqa: PLR0913 - what a member is made of, each named
        self,
        config: Mapping[str, Any],
        group: str,
        topic: str,
        partitions: int,
        *,
        instance: str | None,
        session_timeout: float,
        badge: Badge,
        listener: Listener,
        beat: Callable[[], None],
    ) -> None:
        """``session_timeout`` in seconds: silent for so long, a member has lost its shards."""
        self._config, self._group, self._topic, self._partitions = dict(config), group, topic, partitions
        self._instance, self._session_timeout = instance, session_timeout
        self._badge, self._listener, self._beat = badge, listener, beat
        longest_absence = max(_MAX_POLL_INTERVAL, session_timeout)
        self._max_poll_interval = longest_absence
        self.give_up_within = longest_absence / 3
        """Seconds that giving up shards may take at most."""
        self.has_joined = False
        """Whether the group has ever said which shards are this process's, none of them perhaps."""
        self.failure: BridgeError | None = None
        """Why membership has ended for good, all shards lost; the process ends with it."""
        self.bug: BaseException | None = None
        """What must never happen, did, and ended the thread."""
        self._proofs = Proofs(min(_SLOWEST_BEAT, session_timeout / 10))
        self._owned: frozenset[int] = frozenset()
        self._leaving: list[_Leaving] = []
        self._end: _Leaving | None = None
        self._member_id: str | None = None
        self._is_expelled = False
        self._fatal: KafkaError | None = None
        self._beats = 0
        self._roll_call = RollCall(_ROLL_PATIENCE)
        self._roll: Mapping[int, Badge] = {}
        self._roll_answer: Future[Any] | None = None
        self._roll_at = 0.0
        self._said: dict[int, float] = {}
        self._stopped, self._aborted = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="membership", daemon=True)

    # Any thread

    @property
    def proven_at(self) -> float:
        """When the newest commit that the group has accepted was sent, by ``clock.monotonic``; at first long ago."""
        return self._proofs.proven_at

    def ask(self) -> None:
        """Have membership proven soon; never waits."""
        self._proofs.ask()

    def prove(self, since: float, is_over: Callable[[], bool]) -> bool:
        """Wait for an accepted commit that was sent after ``since``; False when ``is_over()``, or at the end."""
        return self._proofs.prove(since, is_over)

    def roll(self) -> Mapping[int, Badge]:
        """Which living process owns which shard, as of a few seconds ago."""
        return self._roll

    def start(self) -> None:
        """Join the group, as soon as that is possible."""
        self._thread.start()

    def stop(self) -> None:
        """Give everything up in good order, and leave the group."""
        self._stopped.set()

    def abort(self) -> None:
        """Stop at once: nothing is waited for, and the group notices after its session time-out."""
        self._aborted.set()
        self._stopped.set()

    def join(self, deadline: float) -> bool:
        """Wait for the thread until ``deadline``; True when it has ended."""
        self._thread.join(max(0.0, deadline - monotonic()))
        return not self._thread.is_alive()

    # The membership thread

    def _run(self) -> None:
        try:
            self._look = GroupLook(self._config, self._group, self._topic, self._partitions)
            self._wait_for_admission()
            self._take_part()
        except Stopped:
            pass
        except BridgeError as failure:
            log.error("this process is no member of its group any more", error=str(failure))  # noqa: TRY400 - it says it all
            self.failure = failure
        except Exception as bug:
            log.exception("a bug met in the membership thread")
            self.bug = bug
        finally:
            self._lose(self._owned)
            self._proofs.close()

    def _wait_for_admission(self) -> None:
        namesake = Namesake(self._instance, self._session_timeout, monotonic()) if self._instance else None
        while not self._may_join(namesake):
            if self._stopped.wait(_LOOK_AGAIN):
                raise Stopped

    def _may_join(self, namesake: Namesake | None) -> bool:
        self._beat()
        try:
            group = self._seen_group()
            if group is None:
                return True
            check_company(group, self._group, self._topic)
            return namesake is None or namesake.is_gone(group, self._seen_badges(), monotonic())
        except Unreachable as away:
            log.debug("the group cannot be looked at", detail=str(away))  # others tell of a Kafka that is away
            return False

    def _seen_group(self) -> GroupSeen | None:
        return self._look.group(awaited(self._look.ask_group(), self._is_stopped))

    def _seen_badges(self) -> dict[int, Badge]:
        return self._look.badges(awaited(self._look.ask_badges(), self._is_stopped))

    def _is_stopped(self) -> bool:
        self._beat()
        return self._stopped.is_set()

    def _take_part(self) -> None:
        with settings_judged():
            self._consumer = Consumer(self._member_config(), logger=client_logger())
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        try:
            while not self._stopped.is_set():
                self._turn()
            self._give_all_up()
        finally:
            if not self._aborted.is_set():
                self._leave()

    def _member_config(self) -> dict[str, Any]:
        session_ms = round(self._session_timeout * 1000)
        own = {
            "group.id": self._group,
            "group.protocol": "classic",  # the other one has no static members, and wants Kafka 4
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": session_ms,
            "heartbeat.interval.ms": min(500, session_ms // 3),
            "max.poll.interval.ms": round(self._max_poll_interval * 1000),
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "allow.auto.create.topics": False,
            "on_commit": self._on_commit,
            "error_cb": self._on_error,
        }
        static = {"group.instance.id": self._instance} if self._instance else {}
        return self._config | own | static

    def _turn(self) -> None:
        self._beat()
        self._commit()
        message = self._consumer.poll(_TURN)
        error = None if message is None else message.error()
        if error is not None:
            self._judge(error)
        self._face_the_end()
        self._let_go()
        self._call_the_roll()

    # Proofs

    def _commit(self, *, has_left: bool = False) -> None:
        now = monotonic()
        if not self._owned or not (has_left or self._proofs.is_due(now)):
            return
        self._beats += 1
        metadata = encode(self._badge.at(self._beats, has_left=has_left))
        # An offset that nobody reads by; what counts is that the group takes it, and the badge beside it.
        places = [TopicPartition(self._topic, shard, 0, metadata) for shard in sorted(self._owned)]
        self._proofs.sent(self._beats, now)
        try:
            self._consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as exception:
            self._proofs.refused(self._beats)
            self._note(error_of(exception))

    def _on_commit(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        """Records what came of a commit; one place that was taken is enough: the group is asked before any topic."""
        badge = next((found for place in places if (found := decode(place.metadata)) is not None), None)
        errors = [place.error for place in places]
        said = error or (None if None in errors else errors[0] if errors else None)
        if badge is None:
            return
        standing = standing_of(said)
        # Without members the group takes commits from anybody: only one by the id that got the shards proves anything.
        if standing is Standing.MEMBER and self._consumer.memberid() == self._member_id:
            self._proofs.accepted(badge.beat)
        else:
            self._proofs.refused(badge.beat)
            self._note(said)

    def _note(self, error: KafkaError | None) -> None:
        standing = standing_of(error)
        if standing is Standing.FENCED:
            self._fatal = error
        self._is_expelled = self._is_expelled or standing is Standing.EXPELLED

    # What the client says

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = error

    def _judge(self, error: KafkaError) -> None:
        self._note(error)
        obstacle = obstacle_to_joining(error, self._group, self._topic)
        if obstacle is not None and not self.has_joined:
            raise obstacle
        now, code = monotonic(), error.code()
        if now - self._said.get(code, -_REMIND) >= _REMIND:
            self._said[code] = now
            log.warning("the group complains", group=self._group, error=str(obstacle or in_words(error)))

    def _face_the_end(self) -> None:
        if self._fatal is not None:
            raise fenced(self._instance, self._fatal)
        # The client tells of shards that were lost, but only when it is not waiting for others to be given up.
        if self._is_expelled and self._leaving:
            self._lose(self._owned)
        self._is_expelled = False

    # Shards come and go

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # From an offset of our own choice, and paused: neither offsets nor records are ever fetched.
        places = [TopicPartition(self._topic, each.partition, 0) for each in partitions]
        consumer.incremental_assign(places)
        if places:
            consumer.pause(places)
        self._member_id = consumer.memberid()
        self.has_joined = True
        shards = self._known(partitions)
        if shards and self._end is None:
            self._owned |= shards
            self._listener.assigned(shards)

    def _known(self, partitions: list[TopicPartition]) -> frozenset[int]:
        found = frozenset(each.partition for each in partitions)
        strange = sorted(shard for shard in found if shard >= self._partitions)
        if strange:
            log.error(
                "partitions were added to the checkpoints topic: nobody bridges what belongs there",
                topic=self._topic,
                partitions=strange,
                wayout="stop all bridges of the namespace before any of them starts again",
            )
        return found - frozenset(strange)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """The client goes on to serve commits while it waits for the call that lets the partitions go."""
        shards = frozenset(each.partition for each in partitions) & self._owned
        if not shards:
            return
        consumer.incremental_assign([])  # without it the partitions would go as soon as this returns
        if self._end is None:
            released, deadline = self._listener.revoked(shards), monotonic() + self.give_up_within
        else:
            released, deadline = self._end.released, self._end.deadline
        self._leaving.append(_Leaving(shards, partitions, released, deadline))

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._proofs.forget()
        self._lose(frozenset(each.partition for each in partitions))

    def _lose(self, shards: frozenset[int]) -> None:
        lost = shards & self._owned
        self._owned -= lost
        if lost:
            self._listener.lost(lost)

    def _let_go(self) -> None:
        now = monotonic()
        for leaving in list(self._leaving):
            is_over = leaving.released.is_set() or not leaving.shards & self._owned
            if is_over or now >= leaving.deadline:
                self._leaving.remove(leaving)
                self._release(leaving)

    def _release(self, leaving: _Leaving) -> None:
        if leaving.released.is_set():
            self._owned -= leaving.shards
        else:
            self._lose(leaving.shards)
        if leaving.partitions:
            self._consumer.incremental_unassign(leaving.partitions)

    # The roll

    def _call_the_roll(self) -> None:
        now = monotonic()
        if self._roll_answer is None:
            if now >= self._roll_at:
                pause = _ROLL_EVERY if self._roll else _FIRST_ROLL
                self._roll_at, self._roll_answer = now + pause, self._look.ask_badges()
        elif self._roll_answer.done():
            with suppress(BridgeError):  # asked again soon; what matters is told by the commits
                self._roll_call.see(self._look.badges(self._roll_answer), now)
            self._roll = self._roll_call.living(now)
            self._roll_answer = None

    # The end

    def _give_all_up(self) -> None:
        shards = self._owned.difference(*(leaving.shards for leaving in self._leaving))
        deadline = monotonic() + self.give_up_within
        released = self._listener.revoked(shards) if shards else threading.Event()
        self._end = _Leaving(shards, [], released, deadline)
        while not self._aborted.is_set() and not self._is_all_given_up():
            self._turn()
        if self._aborted.is_set():
            return
        self._commit(has_left=True)
        self._poll_until(lambda: self._proofs.is_settled, monotonic() + _LAST_WORD)
        if released.is_set():
            self._owned -= shards

    def _is_all_given_up(self) -> bool:
        assert self._end is not None  # noqa: S101 - told to mypy; set by the caller
        mine = self._end.shards & self._owned
        return not self._leaving and (not mine or self._end.released.is_set() or monotonic() >= self._end.deadline)

    def _poll_until(self, is_done: Callable[[], bool], deadline: float) -> None:
        while not is_done() and monotonic() < deadline and not self._aborted.is_set():
            self._consumer.poll(_TURN)

    def _leave(self) -> None:
        self._lose(self._owned)
        with suppress(KafkaException):  # from a client that is finished
            for leaving in self._leaving:
                self._release(leaving)
        self._leaving.clear()
        self._consumer.close()
