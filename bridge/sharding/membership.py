"""Membership in the consumer group that shares the shards: it assigns shards, and proves that they are still ours.

Kafka's group protocol decides which process owns which partition of the checkpoints topic.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from structlog.stdlib import get_logger

from bridge.clock import monotonic, unix_ms
from bridge.core.records.member_metadata import MemberMetadata
from bridge.errors import BridgeError, FatalFault, Stopped
from bridge.kafka.connection_failures import ClientErrors
from bridge.kafka.group import GroupDescription, look_at_group
from bridge.kafka.group_consumer import GroupConsumer, GroupSettings
from bridge.sharding.join_check import JoinCheck, earlier_with_other, mixed
from bridge.sharding.leases import Leases
from bridge.sharding.proofs import FRESH, INTERVAL, GroupWatch, Proofs, Reaction
from bridge.sharding.replica import ReplicaRegistry

log = get_logger("bridge.membership")

_TURN = 0.05
"""Seconds of one turn: a requested proof, or a stop, is noticed within this time."""
_COMMIT_INTERVAL = 1.0
"""Seconds between two commits at most."""
_LOOK_TIMEOUT = 2.0
"""Seconds for a new client to ask for the group: the loop's heartbeat waits meanwhile."""
_READ_TIMEOUT = 0.5
"""Seconds that reading the committed metadata may take: nothing else happens meanwhile."""
_CLOSE = 2.0
"""Seconds that the close of a replaced client may take: without a name, the others get its shards then."""
_LAST_COMMIT = 2.0
"""Seconds that the last commit of a graceful shutdown may take."""


class Membership:
    """One member of the group.

    Thread rule: ``start`` once, by its owner; ``on_...`` is called by the client on the membership thread; everything
    else that is public is for any thread.
    """

    def __init__(
        self,
        settings: GroupSettings,
        metadata: MemberMetadata,
        heartbeat: Callable[[], None],
        new_consumer: Callable[..., GroupConsumer] = GroupConsumer,
        watch_interval: float = INTERVAL,
    ) -> None:
        """``heartbeat`` is called at every turn of the thread; ``watch_interval``: of ``GroupWatch``, in seconds."""
        self.failure: BridgeError | None = None
        """Why membership has ended for good; all shards are lost, and the process ends."""
        self.bug: BaseException | None = None
        self._is_renewal_wanted = False
        self.has_joined = False
        """Whether the group has ever assigned shards, perhaps none."""
        self._settings, self._metadata, self._heartbeat = settings, metadata, heartbeat
        self._stopped, self._aborted = threading.Event(), threading.Event()
        self.proofs = Proofs(min(_COMMIT_INTERVAL, settings.session_timeout / 10))
        self.replicas = ReplicaRegistry()
        self._errors = ClientErrors(settings.config, "membership")
        self._watch = GroupWatch(monotonic(), watch_interval)
        self._new_consumer = new_consumer
        self._consumer: GroupConsumer
        self._leases: Leases
        self._thread = threading.Thread(target=self._run, name="membership", daemon=True)

    @property
    def connection_failure(self) -> str | None:
        """Why the group does not answer, as far as the client knows (any thread)."""
        return self._errors.cause

    def start(self, leases: Leases) -> None:
        self._leases = leases
        self._thread.start()

    def renew_client(self) -> None:
        """Leave the group and join it again with a new client, which reads the certificates as they are now."""
        self._is_renewal_wanted = True

    def stop(self) -> None:
        self._stopped.set()

    def abort(self) -> None:
        """Stop without waiting for anything; the group notices after the session time-out."""
        self._aborted.set()
        self._stopped.set()

    def join(self, deadline: float) -> bool:
        self._thread.join(max(0.0, deadline - monotonic()))
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._consumer = self._new_consumer(self._settings, self, self._errors)
            self._participate()
        except Stopped:
            pass
        except BridgeError as failure:
            log.error("membership ended", group=self._settings.group, error=str(failure))  # noqa: TRY400 - the message is complete
            self.failure = failure
        except Exception as bug:
            log.exception("bug in the membership thread")
            self.bug = bug
        finally:
            self._leases.close()
            self.proofs.close()

    def _participate(self) -> None:
        try:
            self._join()
            while not self._stopped.is_set():
                self._turn()
                if self._is_renewal_wanted and not self._leases.is_releasing:
                    self._renew()
            self._release_all()
        finally:
            self._leases.close()
            if not self._aborted.is_set():
                self._consumer.close(self._leases.released(monotonic()))

    def _join(self) -> None:
        JoinCheck(self._settings, self._consumer, self._metadata).wait(self._stopped, self._poll)
        self._consumer.subscribe()

    def _turn(self) -> None:
        now = monotonic()
        if self.proofs.is_due(now):
            self._commit(now)
        self._poll(_TURN)
        self._check_membership()
        self._check_answers(now)
        if partitions := self._leases.released(monotonic()):
            self._consumer.release(partitions)
        if self.proofs.is_settled:  # otherwise the coordinator may be busy with us, and would not answer in time
            self.replicas.turn(now, lambda: self._consumer.committed_metadata(_READ_TIMEOUT))
            self._check_guarantees()

    def _renew(self) -> None:
        """Suspend all leases, as after a session time-out: they continue from memory once the group assigns them again.

        Under a name that takes one request; without one, the others share the shards for a moment. A process that
        cannot prove that it was a member until now may have been replaced under its name: it checks that first, as at
        its start, and ends if another one has the name.
        """
        self._is_renewal_wanted = False
        is_proven = monotonic() - self.proofs.proven_at <= FRESH and self._consumer.fatal is None
        log.info("joining the group again with a new Kafka client", group=self._settings.group)
        self.on_lost(self._leases.owned)
        self._consumer.abandon(_CLOSE)
        self._consumer = self._new_consumer(self._settings, self, self._errors, was_member=self.has_joined)
        if is_proven:
            self._consumer.subscribe()
        else:
            self._join()

    def _poll(self, timeout: float = 0.0) -> None:
        self._heartbeat()
        self._consumer.poll(timeout)

    def _commit(self, now: float, *, has_left: bool = False) -> None:
        if not self._leases.owned:  # only the owner of a shard writes its metadata
            return
        self._metadata = self._metadata.at(self._metadata.heartbeat + 1, has_left=has_left)
        self.proofs.sent(self._metadata.heartbeat, now)
        self._consumer.commit(self._leases.owned, self._metadata)

    def _check_membership(self) -> None:
        if self._consumer.fatal is not None:
            self.on_lost(self._leases.owned)  # before anything that takes time
            if not self._is_renewal_wanted:
                self._handle_fatal(self._consumer.fatal)
            return
        # The client reports a loss, but not while it waits for shards that are being released.
        if self._consumer.take_expelled() and self._leases.is_releasing:
            self._leases.lose(self._leases.owned)

    def _check_answers(self, now: float) -> None:
        """Replace a client that gets no answer although Kafka answers others. Raises ``FatalFault``."""
        if not self._watch.is_due(self._consumer.answered_at, now):
            return
        of = self._settings
        found = look_at_group(of.config, of.group, of.topic, _LOOK_TIMEOUT)
        if found is not None and self._is_idle_in(found):
            self._watch.answered(now)
            return
        # Without a coordinator the group is not listed, and a new client could not do better.
        is_there = found is not None and found.exists
        reaction = self._watch.asked(answers=is_there, now=monotonic())
        if reaction is Reaction.RENEW:
            log.error("the group does not answer this client, but another one: using a new client", group=of.group)
            self._is_renewal_wanted = True
        elif reaction is Reaction.END:
            self._leases.lose(self._leases.owned)
            raise FatalFault(
                f"Kafka: the consumer group {of.group} answers no client of this process, but others: start again"
            )

    def _check_guarantees(self) -> None:
        """End if this process joined later than one with another guarantee. Raises ``SettingsError``."""
        live, owns_shards = self.replicas.live.values(), bool(self._leases.owned)
        first = earlier_with_other(self._metadata, live, owns_shards=owns_shards)
        if first is not None:
            self._leases.lose(self._leases.owned)
            raise mixed(self._settings.namespace, self._metadata.guarantee, first)

    def _is_idle_in(self, group: GroupDescription) -> bool:
        """Whether this process is a member without shards, which commits nothing, or waits for a rebalance."""
        client_id = str(self._settings.config.get("client.id", ""))
        return not self._leases.owned and group.has_idle(client_id, self._settings.partitions)

    def _handle_fatal(self, why: str) -> None:
        """Join again with a new client after the group fenced this process's name. Raises ``FatalFault``.

        The client does not compare a late answer with its present membership: a request of a former member id of this
        process that arrives after it joined again is answered with a fence, and so is a membership that a broker lost
        with its disk (librdkafka issue 3437). If another process has the name, the check before the join finds it.
        """
        if self._settings.instance is None or self._watch.fenced(monotonic()) is Reaction.END:
            raise FatalFault(f"Kafka: the client of the consumer group failed: {why}: start again")
        log.warning("the group fenced this process's name: looking for its owner", group=self._settings.group)
        self._is_renewal_wanted = True

    # The client's callbacks, in ``_poll`` and ``_commit``

    def on_assigned(self, partitions: frozenset[int]) -> None:
        """Own these partitions, except those that were added to the topic: they are no shards."""
        added = frozenset(number for number in partitions if number >= self._settings.partitions)
        if added:
            log.error(
                "partitions were added to the checkpoints topic: their sessions are not bridged; stop all bridges of"
                " the namespace before you start any of them again",
                topic=self._settings.topic,
                partitions=sorted(added),
            )
        self.has_joined = True
        if not self._leases.owned:
            self._metadata = replace(self._metadata, since_ms=unix_ms())
        self._leases.assign(partitions - added)

    def on_revoked(self, partitions: frozenset[int]) -> bool:
        return self._leases.revoke(partitions, monotonic())

    def on_lost(self, partitions: frozenset[int]) -> None:
        """Own these partitions no longer, and accept no earlier commit as a proof."""
        self.proofs.forget()
        self._leases.lose(partitions)

    def on_committed(self, heartbeat: int, *, is_member: bool) -> None:
        self.proofs.answered(heartbeat, is_member=is_member)

    def _release_all(self) -> None:
        self._leases.shut_down(monotonic())
        while not self._leases.is_shut_down(monotonic()) and not self._aborted.is_set():
            self._turn()
        self._commit(monotonic(), has_left=True)
        end = monotonic() + _LAST_COMMIT
        while not self.proofs.is_settled and monotonic() < end and not self._aborted.is_set():
            self._poll(_TURN)
