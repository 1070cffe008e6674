"""A process's share of the shards: membership, the reader of the checkpoints topic, and ownership, put together."""

from __future__ import annotations

import os
import queue
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress

from bridge import __version__
from bridge.clock import monotonic, unix_ms
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.claim import Claim
from bridge.core.records.member_metadata import MemberMetadata
from bridge.core.snapshot import Replica
from bridge.delivery.lease import Lease
from bridge.delivery.protocol import Delivery
from bridge.errors import FatalFault, Stopped
from bridge.kafka.config import client_config
from bridge.settings import Settings
from bridge.settings.naming import group_of, servers_fingerprint
from bridge.sharding.assignment import Assignment, Note
from bridge.sharding.membership import Membership
from bridge.sharding.process_identity import this_process
from bridge.sharding.read_state import Taken
from bridge.sharding.restore import ShardReader
from bridge.sharding.roles import Sessions
from bridge.sharding.shards import Shards
from bridge.sharding.states import Turn

_ASK_AGAIN = 10.0
_LOOK = 0.1
"""Seconds between two looks whether somebody who waits for a shard to be read still wants it."""


class ShardCoordinator:
    """One replica's part of the work.

    Thread rule: the main thread's, but for ``reclaim`` and ``snapshot``, which are for any.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what a share is made of, given once
        self,
        settings: Settings,
        shard_count: int,
        delivery: Delivery,
        sessions: Sessions,
        beat: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        """``beat`` is called with the name of each loop that moves; ``changed`` wakes the main thread."""
        self._count = shard_count
        self._delivery = delivery
        self._fault: FatalFault | None = None
        self._host, self._instance = socket.gethostname(), settings.instance
        self._owner = f"{settings.instance or self._host}:{os.getpid()}"
        self._servers = servers_fingerprint(settings)
        config, topic = client_config(settings.kafka, f"mix-bridge {self._owner}"), settings.topics.checkpoints
        self._assignment = assignment = Assignment(changed)
        self._reader = ShardReader(
            config,
            topic,
            shard_count,
            lambda shard, word: assignment.note(Note(shard, word=word)),
            lambda: beat("shards"),
        )
        self._run = this_process()
        self._membership = Membership(
            config,
            group_of(settings.namespace),
            topic,
            shard_count,
            instance=settings.instance,
            session_timeout=settings.kafka.group_session_timeout,
            member_metadata=MemberMetadata(self._owner, settings.instance, self._run, self._servers, __version__),
            listener=assignment,
            beat=lambda: beat("membership"),
        )
        assignment.trust(self._membership)
        self._shards = Shards(
            shard_count,
            topic=topic,
            assignment=assignment,
            reader=self._reader,
            delivery=delivery,
            sessions=sessions,
            claim=self._claim,
            # Before the group's own patience ends: what is not done by then is given up in good order all the same.
            give_up_within=0.9 * self._membership.give_up_within,
        )

    def start(self) -> None:
        """Join the group and take what it assigns."""
        self._reader.start()
        self._membership.start()

    def tick(self) -> None:
        """Go on with what was assigned and what is wanted back. Raises what ended membership, or a bug."""
        for trouble in (self._membership.failure, self._membership.bug, self._reader.bug, self._fault):
            if trouble is not None:
                raise trouble
        self._shards.tick()

    # What the watch of the topics tells, on its thread: see :class:`bridge.daemon.topic_watch.Follower`

    def follow_limit(self, max_request_bytes: int) -> None:
        """The topics take batches of another size now."""
        self._delivery.follow_limit(max_request_bytes)

    def write_positions_again(self, partitions: int) -> None:
        """The checkpoints topic is a new one: all positions go there, behind new claims.

        With another number of partitions sessions belong elsewhere: this process ends, in order, and a new one shares
        them out anew.
        """
        self._delivery.write_positions_again(partitions)
        if partitions == self._count:
            self._reader.renew(partitions)
            for shard in range(partitions):
                self._assignment.note(Note(shard, Turn.AGAIN))
        else:
            self._fault = FatalFault(
                f"the checkpoints topic has {partitions} partitions now, and had {self._count}: start again, so that"
                " sessions are shared out anew (topics.shards)"
            )

    @property
    def has_begun(self) -> bool:
        """Whether the group has said which shards are this process's, and all of them are taken."""
        return self._membership.has_joined and self._shards.are_taken

    @property
    def is_leaving(self) -> bool:
        """Whether a shard is being given up."""
        return self._shards.are_leaving

    def note_start(self) -> None:
        """The start is over: from now on a shard that cannot be taken does not end the process."""
        self._shards.note_start()

    def connection_failure(self) -> str:
        """What the start waits for."""
        troubles = self._shards.troubles()
        if troubles:
            return "; ".join(f"shard {shard}: {why}" for shard, why in sorted(troubles.items()))
        return "the group has not assigned any shards" if not self._membership.has_joined else "shards are being read"

    def stop(self, deadline: float) -> None:
        """Give all shards up by ``deadline``, and leave the group."""
        self._shards.stop(deadline)
        self._membership.stop()

    def join(self, deadline: float) -> bool:
        """Go on giving up until ``deadline``; True when this process is no member any more."""
        self._shards.tick()
        if not self._shards.are_gone:
            self._membership.join(min(deadline, monotonic() + _LOOK / 4))
            return False
        return self._membership.join(deadline)

    @property
    def restored(self) -> int:
        """Checkpoints that were read back, of all shards that were taken."""
        return self._shards.restored

    @property
    def left_undelivered(self) -> int:
        """Shards that were given up before everything was delivered."""
        return self._shards.left_undelivered

    def leave(self, deadline: float) -> None:
        """Give everything up as it is, and leave the group, so that a new start need not wait until it notices."""
        self._shards.abandon()
        self._membership.stop()
        while not self._membership.join(min(deadline, monotonic() + _LOOK)) and monotonic() < deadline:
            self._shards.abandon()
        self.abort()

    def abort(self) -> None:
        """Leave everything as it is."""
        self._membership.abort()
        self._reader.stop()

    def close(self, deadline: float) -> None:
        """After ``join``: read no more."""
        self._reader.stop()
        self._reader.join(deadline)

    def reclaim(self, lease: Lease) -> Mapping[SessionKey, Checkpoint]:
        """Claim an owned shard again and read what it holds since it was taken; raises ``Stopped`` when it is lost."""
        if lease.since is None:
            return {}  # it is being read as a whole just now, and nothing of it was written yet
        answers: queue.SimpleQueue[Taken] = queue.SimpleQueue()
        while not lease.is_over:
            # Asked again after a while: another reading of the shard may have taken the place of this one.
            self._reader.take(lease.shard, self._claim(), answers.put, after=lease.since)
            taken = self._awaited(answers, lease)
            if taken is not None:
                lease.claimed(taken.term)
                self._assignment.note(Note(lease.shard, Turn.AGAIN, lease))
                return taken.log.checkpoints
        raise Stopped

    def _awaited(self, answers: queue.SimpleQueue[Taken], lease: Lease) -> Taken | None:
        deadline = monotonic() + _ASK_AGAIN
        while not lease.is_over and monotonic() < deadline:
            with suppress(queue.Empty):
                return answers.get(timeout=_LOOK)
        return None

    def snapshot(self) -> Replica:
        """The replica and the others, at this moment."""
        others = {
            shard: member_metadata
            for shard, member_metadata in self._membership.replica_registry().items()
            if member_metadata.run != self._run
        }
        return Replica(
            owner=self._owner,
            instance=self._instance,
            host=self._host,
            pid=os.getpid(),
            shard_count=self._count,
            has_joined=self._membership.has_joined,
            shards=self._shards.snapshots(),
            others=Counter(member_metadata.owner for member_metadata in others.values()),
            with_other_servers=tuple(
                sorted(
                    {
                        member_metadata.owner
                        for member_metadata in others.values()
                        if member_metadata.servers != self._servers
                    }
                )
            ),
        )

    def _claim(self) -> Claim:
        return Claim(self._owner, secrets.token_hex(8), self._count, self._servers, unix_ms())
