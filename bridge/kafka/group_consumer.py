"""The Kafka client of one member of the consumer group that shares the partitions of one topic.

It reads no records: its partitions are paused from the start. Its offset commits carry no position but the member's
metadata, and a commit that the group accepts proves membership.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from threading import Thread
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.records.member_metadata import MemberMetadata, decode, encode
from bridge.kafka.config import follow, plain, settings_judged, slower_reconnects
from bridge.kafka.connection_failures import ClientErrors
from bridge.kafka.errors import MemberStatus, error_of, in_words, join_refusal, member_status
from bridge.kafka.group import read_members_metadata

log = get_logger("bridge.membership")

_MAX_POLL_INTERVAL = 90.0
_WARN_AGAIN = 60.0
"""Seconds until the same error of the group is logged again."""


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """The consumer group as one member sees it."""

    config: Mapping[str, Any]
    """Of every Kafka client: brokers, security, ``kafka.properties``."""
    group: str
    topic: str
    partitions: int
    """The shards: the group ignores partitions that are added to the topic later."""
    instance: str | None
    session_timeout: float
    """Seconds: a member that is silent for so long has lost its shards."""
    namespace: str = ""

    @property
    def max_poll_interval(self) -> float:
        """Seconds after which a rebalance continues without a member that does not answer."""
        return max(_MAX_POLL_INTERVAL, self.session_timeout)


class GroupListener(Protocol):
    """Receives what the group says. Called inside ``poll`` and ``commit``."""

    def on_assigned(self, partitions: frozenset[int]) -> None:
        """The group assigned these partitions, in addition to those before."""

    def on_revoked(self, partitions: frozenset[int]) -> bool:
        """The group revokes these partitions; True to keep them until ``release``."""

    def on_lost(self, partitions: frozenset[int]) -> None:
        """The member was expelled: another one may have these partitions already."""

    def on_committed(self, heartbeat: int, *, is_member: bool) -> None:
        """The commit of this heartbeat was answered; ``is_member``: the answer proves membership."""


class GroupConsumer:
    """One member. Thread rule: one thread."""

    def __init__(
        self, settings: GroupSettings, listener: GroupListener, errors: ClientErrors, *, was_member: bool = False
    ) -> None:
        """``errors`` has what the client reported since the group's last answer.

        ``was_member``: an earlier client of this process was a member, so a refusal may be temporary.
        Raises ``SettingsError`` for settings that the client refuses.
        """
        self._settings = settings
        self._listener = listener
        self.fatal: str | None = None
        """Why the client cannot continue: another process has its name, or librdkafka failed."""
        self._errors = errors
        self.answered_at = -inf
        """When the group last answered this client, even with a refusal."""
        self._is_expelled = self._is_abandoned = False
        self._was_member = was_member
        self._member_id: str | None = None
        """The id under which the group assigned the partitions."""
        self._last_heartbeat = self._last_of_former = 0
        """The newest committed heartbeat; the newest one of an earlier member id of this process."""
        self._warned_at: dict[int, float] = {}
        callbacks = {"on_commit": self._on_commit, "error_cb": self._on_error}
        config = member_config(settings) | callbacks
        with settings_judged():
            self._consumer = Consumer(config, logger=errors)
        follow(settings.config, self, config)

    def set_credentials(self, username: str, password: str) -> None:
        """Use these at the next authentication (any thread)."""
        self._consumer.set_sasl_credentials(username, password)

    @property
    def has_joined(self) -> bool:
        """Whether the group has ever assigned partitions, perhaps none."""
        return self._member_id is not None

    def take_expelled(self) -> bool:
        """Whether the group expelled this member since the last call."""
        was_expelled, self._is_expelled = self._is_expelled, False
        return was_expelled

    def subscribe(self) -> None:
        """Join the group; the next calls of ``poll`` do it."""
        self._consumer.subscribe(
            [self._settings.topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, timeout: float) -> None:
        """Run the client's callbacks. Raises ``SettingsError`` when the group will never accept this member."""
        message = self._consumer.poll(timeout)
        if message is not None and (error := message.error()) is not None:
            self._handle_error(error)

    def commit(self, partitions: Iterable[int], member: MemberMetadata) -> None:
        """Commit the member's metadata for its partitions; the answer comes as ``on_committed``."""
        metadata = encode(member)
        self._last_heartbeat = member.heartbeat
        # Nobody reads this offset: only the group's answer and the metadata matter.
        places = [TopicPartition(self._settings.topic, partition, 0, metadata) for partition in sorted(partitions)]
        try:
            self._consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as exception:
            self._committed(member.heartbeat, error_of(exception), is_member=False)

    def committed_metadata(self, timeout: float) -> dict[int, MemberMetadata]:
        """The metadata that the owners of shards committed, by shard. Raises ``SettingsError``, ``Unreachable``."""
        of = self._settings
        return read_members_metadata(self._consumer, of.group, of.topic, of.partitions, timeout)

    def release(self, partitions: Iterable[int]) -> None:
        """Let revoked partitions go; a client that has failed has none."""
        places = [TopicPartition(self._settings.topic, partition) for partition in sorted(partitions)]
        try:
            self._consumer.incremental_unassign(places)
        except KafkaException:
            if self.fatal is None:
                raise

    def close(self, partitions: Iterable[int]) -> None:
        """Let these revoked partitions go, and leave the group."""
        with suppress(KafkaException):  # from a client that has failed
            self.release(partitions)
        self._consumer.close()

    def abandon(self, timeout: float) -> None:
        """Close a client that another one replaces, without a word to the listener.

        A client that is stuck may never end: this waits for ``timeout`` seconds at most.
        """
        self._is_abandoned = True
        closing = Thread(target=self._end, name="membership-end", daemon=True)
        closing.start()
        closing.join(timeout)

    def _end(self) -> None:
        with suppress(KafkaException, RuntimeError):
            self._consumer.close()

    # Callbacks of the client, which run in ``poll``, and once more in ``abandon``: on its own thread

    def _on_commit(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        member = next((found for place in places if (found := decode(place.metadata)) is not None), None)
        if member is None or self._is_abandoned:
            return
        # The client may repeat a commit of an earlier member id of this process. The group answers as to a duplicate.
        if member.heartbeat <= self._last_of_former:
            self._listener.on_committed(member.heartbeat, is_member=False)
            return
        error = error or _refusal(places)
        # A group without members accepts commits from anybody: only one under the id that has the shards is a proof.
        is_member = member_status(error) is MemberStatus.MEMBER and self._consumer.memberid() == self._member_id
        self._committed(member.heartbeat, error, is_member=is_member)

    def _committed(self, heartbeat: int, error: KafkaError | None, *, is_member: bool) -> None:
        if is_member:
            self._errors.clear()
        if error is None or error.code() > 0:  # negative ones are the client's own
            self.answered_at = monotonic()
        self._listener.on_committed(heartbeat, is_member=is_member)
        self._note(error)

    def _on_error(self, error: KafkaError) -> None:
        self._errors.note(error)
        if error.fatal():
            self.fatal = in_words(error)

    def _handle_error(self, error: KafkaError) -> None:
        if error.code() > 0:
            self.answered_at = monotonic()
        self._note(error)
        refusal = join_refusal(error, self._settings.group, self._settings.topic)
        if refusal is not None and not (self.has_joined or self._was_member):
            raise refusal
        now, code = monotonic(), error.code()
        if self.fatal is None and now - self._warned_at.get(code, -_WARN_AGAIN) >= _WARN_AGAIN:
            self._warned_at[code] = now
            log.warning("consumer group error", group=self._settings.group, error=str(refusal or in_words(error)))

    def _note(self, error: KafkaError | None) -> None:
        status = member_status(error)
        if status is MemberStatus.FENCED and error is not None and not self._is_of_former_id(error):
            self.fatal = in_words(error)
        elif status in {MemberStatus.EXPELLED, MemberStatus.FENCED}:
            self._is_expelled = True

    def _is_of_former_id(self, error: KafkaError) -> bool:
        """Whether this process has fenced its own former member id by joining again, after a session time-out."""
        is_fenced = error.code() == KafkaError.FENCED_INSTANCE_ID and not error.fatal()
        return is_fenced and self._member_id not in {None, self._consumer.memberid()}

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._is_abandoned:
            return
        # From a fixed offset, and paused: neither offsets nor records are ever fetched.
        places = [TopicPartition(self._settings.topic, each.partition, 0) for each in partitions]
        consumer.incremental_assign(places)
        if places:
            consumer.pause(places)
        self._errors.clear()
        self.answered_at = monotonic()
        if consumer.memberid() != self._member_id:
            self._member_id, self._last_of_former = consumer.memberid(), self._last_heartbeat
        self._listener.on_assigned(_numbers(partitions))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if not self._is_abandoned and self._listener.on_revoked(_numbers(partitions)):
            # Without such a call the partitions would go when this returns. With it the client keeps sending heartbeats
            # and commits until ``release``.
            consumer.incremental_assign([])

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        if not self._is_abandoned:
            self._listener.on_lost(_numbers(partitions))


def member_config(settings: GroupSettings) -> dict[str, Any]:
    """The configuration of a member's client: the group is the bridge's own, everything else the user's."""
    session_ms = round(settings.session_timeout * 1000)
    own = {
        "group.id": settings.group,
        "group.protocol": "classic",  # the newer one has no static members, and needs Kafka 4
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": session_ms,
        # How soon members learn of a rebalance: shards of a member that leaves move within a second.
        "heartbeat.interval.ms": min(500, session_ms // 3),
        "max.poll.interval.ms": round(settings.max_poll_interval * 1000),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
    }
    # While the coordinator is away the client tries the bootstrap servers as often as this allows: 20 times a second
    # by default.
    backoff = slower_reconnects(settings.config)
    name = {} if settings.instance is None else {"group.instance.id": settings.instance}
    return plain(settings.config) | backoff | own | name


def _refusal(places: Sequence[TopicPartition]) -> KafkaError | None:
    """Why no commit was accepted; None when one was: the group checks membership before it accepts any."""
    errors = [place.error for place in places]
    return None if None in errors or not errors else errors[0]


def _numbers(partitions: Iterable[TopicPartition]) -> frozenset[int]:
    return frozenset(each.partition for each in partitions)
