"""Membership in the consumer group that shares the shards: which are this process's, and the proof that they still are.

Kafka's own group protocol decides who owns which partition of the checkpoints topic. Nothing is read here: the
partitions are paused from the start. What is committed for them is no position but this process's badge, and a commit
that the group accepts is the proof of membership.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.records.member_metadata import MemberMetadata, decode, encode
from bridge.errors import BridgeError, FatalFault, Stopped
from bridge.kafka.config import client_logger, settings_judged
from bridge.kafka.errors import error_of, in_words
from bridge.kafka.group import read_members_metadata
from bridge.kafka.group_errors import MemberStatus, connection_failure_to_joining, standing_of
from bridge.sharding.assigned_partitions import AssignedPartitions, Listener
from bridge.sharding.join_check import JoinCheck
from bridge.sharding.member_config import member_config, refusal
from bridge.sharding.proofs import Proofs
from bridge.sharding.replica_registry import ReplicaRegistry

log = get_logger("bridge.membership")

_MAX_POLL_INTERVAL = 90.0
"""Seconds after which a rebalance goes on without a member that does not come."""
_TURN = 0.05
"""Seconds of one turn: how late a question for a proof, or a stop, is noticed."""
_SLOWEST_BEAT = 1.0
"""Seconds between two commits at most."""
_READ = 0.5
"""Seconds that reading all badges may take: nothing else goes on meanwhile."""
_LAST_WORD = 2.0
"""Seconds that the last badge of an orderly stop may take."""
_REMIND = 60.0
"""Seconds after which the same complaint of the group is said again."""


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
        member_metadata: MemberMetadata,
        listener: Listener,
        beat: Callable[[], None],
    ) -> None:
        """``session_timeout`` in seconds: silent for so long, a member has lost its shards.

        Raises ``SettingsError`` for what the client does not take.
        """
        self._group, self._topic, self._partitions = group, topic, partitions
        self._instance, self._member_metadata, self._beat = instance, member_metadata, beat
        absence = max(_MAX_POLL_INTERVAL, session_timeout)
        self.give_up_within = absence / 3
        """Seconds that giving up shards may take at most."""
        self.has_joined = False
        """Whether the group has ever said which shards are this process's, none of them perhaps."""
        self.failure: BridgeError | None = None
        """Why membership has ended for good, all shards lost; the process ends with it."""
        self.bug: BaseException | None = None
        """What must never happen, did, and ended the thread."""
        self._config = member_config(config, group, instance, session_timeout, absence)
        self._stopped, self._aborted = threading.Event(), threading.Event()
        self._join_check = JoinCheck(config, group, topic, partitions, instance, session_timeout)
        self._replica_registry = ReplicaRegistry(self._read_members_metadata)
        self._proofs = Proofs(min(_SLOWEST_BEAT, session_timeout / 10))
        self._assigned_partitions = AssignedPartitions(listener, self.give_up_within)
        self._heartbeats = 0
        self._member_id: str | None = None
        self._is_expelled = False
        self._fatal: KafkaError | None = None
        self._said: dict[int, float] = {}
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
        """Wait for an accepted commit that was sent after ``since``; False when ``is_over()``, or at the end.

        While others join, a commit waits behind this member's own request to the coordinator, until the slowest one
        has given up its shards.
        """
        return self._proofs.prove(since, is_over)

    def replica_registry(self) -> Mapping[int, MemberMetadata]:
        """Which living process owns which shard, as of a few seconds ago."""
        return self._replica_registry.living

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
            self._make_client()
            self._take_part()
        except Stopped:
            pass
        except BridgeError as failure:
            log.error("this process is no member of its group", group=self._group, error=str(failure))  # noqa: TRY400 - it says it all
            self.failure = failure
        except Exception as bug:
            log.exception("a bug met in the membership thread")
            self.bug = bug
        finally:
            self._assigned_partitions.close()
            self._proofs.close()

    def _make_client(self) -> None:
        callbacks = {"on_commit": self._on_commit, "error_cb": self._on_error}
        with settings_judged():
            self._consumer = Consumer(self._config | callbacks, logger=client_logger())

    def _take_part(self) -> None:
        try:
            self._join_check.wait(self._consumer, self._stopped, self._heed)
            self._consumer.subscribe(
                [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while not self._stopped.is_set():
                self._turn()
            self._give_all_up()
        finally:
            self._leave()

    def _turn(self) -> None:
        now = monotonic()
        if self._proofs.is_due(now):
            self._commit(now)
        self._heed(_TURN)
        self._face_the_end()
        for partitions in self._assigned_partitions.let_go(monotonic()):
            self._release(partitions)
        if self._proofs.is_settled:  # else the coordinator may be busy with us, and would not answer in time
            self._replica_registry.turn(now)

    def _heed(self, timeout: float = 0.0) -> None:
        """Let the client say what it has to say; all its callbacks run here."""
        self._beat()
        message = self._consumer.poll(timeout)
        if message is not None and (error := message.error()) is not None:
            self._judge(error)

    def _read_members_metadata(self) -> Mapping[int, MemberMetadata]:
        return read_members_metadata(self._consumer, self._group, self._topic, self._partitions, _READ)

    # Proofs

    def _commit(self, now: float, *, has_left: bool = False) -> None:
        if not self._assigned_partitions.owned:  # the book of a shard is its owner's
            return
        self._heartbeats += 1
        metadata = encode(self._member_metadata.at(self._heartbeats, has_left=has_left))
        # An offset that nobody reads by: what counts is that the group takes it, and the badge beside it.
        places = [TopicPartition(self._topic, shard, 0, metadata) for shard in sorted(self._assigned_partitions.owned)]
        self._proofs.sent(self._heartbeats, now)
        try:
            self._consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as exception:
            self._proofs.refused(self._heartbeats)
            self._note(error_of(exception))

    def _on_commit(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        member_metadata = next((found for place in places if (found := decode(place.metadata)) is not None), None)
        if member_metadata is None:
            return
        said = error or refusal(places)
        # A group without members takes commits from anybody: only one by the id that got the shards proves anything.
        if standing_of(said) is MemberStatus.MEMBER and self._consumer.memberid() == self._member_id:
            self._proofs.accepted(member_metadata.heartbeat)
        else:
            self._proofs.refused(member_metadata.heartbeat)
            self._note(said)

    def _note(self, error: KafkaError | None) -> None:
        status = standing_of(error)
        if status is MemberStatus.FENCED:
            self._fatal = error
        elif status is MemberStatus.EXPELLED:
            self._is_expelled = True

    # What the client says

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = error

    def _judge(self, error: KafkaError) -> None:
        self._note(error)
        connection_failure = connection_failure_to_joining(error, self._group, self._topic)
        if connection_failure is not None and not self.has_joined:
            raise connection_failure
        now, code = monotonic(), error.code()
        if self._fatal is None and now - self._said.get(code, -_REMIND) >= _REMIND:
            self._said[code] = now
            log.warning("the group complains", group=self._group, error=str(connection_failure or in_words(error)))

    def _face_the_end(self) -> None:
        if self._fatal is not None:
            self._assigned_partitions.lose(self._assigned_partitions.owned)  # before anything that takes time
            raise self._ending(self._fatal)
        # The client tells of a loss, but not while it waits for shards that are being given up.
        if self._is_expelled and self._assigned_partitions.is_giving_up:
            self._assigned_partitions.lose(self._assigned_partitions.owned)
        self._is_expelled = False

    def _ending(self, error: KafkaError) -> BridgeError:
        if self._instance is None:
            return FatalFault(f"Kafka: the client of the consumer group is finished: {in_words(error)}")
        return self._join_check.usurper(self._consumer, self._instance, self._member_metadata.run)

    # Shards come and go

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # From an offset of our own choice, and paused: neither offsets nor records are ever fetched.
        places = [TopicPartition(self._topic, each.partition, 0) for each in partitions]
        consumer.incremental_assign(places)
        if places:
            consumer.pause(places)
        self._member_id = consumer.memberid()
        self.has_joined = True
        self._assigned_partitions.gain(self._known(_numbers(partitions)))

    def _known(self, partitions: frozenset[int]) -> frozenset[int]:
        strange = frozenset(number for number in partitions if number >= self._partitions)
        if strange:
            log.error(
                "partitions were added to the checkpoints topic: nobody bridges the sessions that belong there; stop"
                " all bridges of the namespace before any of them starts again",
                topic=self._topic,
                partitions=sorted(strange),
            )
        return partitions - strange

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._assigned_partitions.give_up(_numbers(partitions), monotonic()):
            # Without a call of this kind the partitions would go as soon as this returns. With it the client goes on
            # to beat and to commit until the call that lets them go.
            consumer.incremental_assign([])

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._proofs.forget()
        self._assigned_partitions.lose(_numbers(partitions))

    def _release(self, partitions: Iterable[int]) -> None:
        self._consumer.incremental_unassign([TopicPartition(self._topic, number) for number in sorted(partitions)])

    # The end

    def _give_all_up(self) -> None:
        self._assigned_partitions.begin_end(monotonic())
        while not self._assigned_partitions.is_at_end(monotonic()) and not self._aborted.is_set():
            self._turn()
        self._commit(monotonic(), has_left=True)
        end = monotonic() + _LAST_WORD
        while not self._proofs.is_settled and monotonic() < end and not self._aborted.is_set():
            self._heed(_TURN)

    def _leave(self) -> None:
        self._assigned_partitions.close()
        if self._aborted.is_set():
            return
        with suppress(KafkaException):  # from a client that is finished
            for partitions in self._assigned_partitions.let_go(monotonic()):
                self._release(partitions)
        self._consumer.close()


def _numbers(partitions: Iterable[TopicPartition]) -> frozenset[int]:
    return frozenset(each.partition for each in partitions)
