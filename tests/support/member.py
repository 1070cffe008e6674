"""One member of a consumer group as a process: prints its assignments as JSON lines; SIGTERM ends it.

``python -m tests.support.member '{"bootstrap": ..., "topic": ..., ...}'``; exit codes as the bridge's.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import structlog

from bridge.clock import monotonic
from bridge.core.records.member_metadata import MemberMetadata
from bridge.delivery.lease import Lease
from bridge.kafka.group_consumer import GroupConsumer, GroupSettings
from bridge.sharding.leases import Leases
from bridge.sharding.membership import Membership
from bridge.sharding.proofs import INTERVAL
from bridge.sharding.replica import this_process
from bridge.sharding.states import ShardSignal
from tests.support.waiting import TIMEOUT, let_pass

_POLL_INTERVAL = 0.02
_PROOF_INTERVAL = 0.1


class _Stuck(GroupConsumer):
    """A client that never joins."""

    def subscribe(self) -> None:
        """Do nothing."""


class Member:
    """Prints each assignment and each loss, and proves a lease every 0.1 s."""

    def __init__(self, orders: Mapping[str, Any]) -> None:
        self._orders = orders
        self._lock = threading.Lock()
        self._has_left = threading.Event()
        self._held: dict[int, Lease] = {}
        instance = orders.get("instance")
        settings = GroupSettings(
            {"bootstrap.servers": orders["bootstrap"], **orders.get("config", {})},
            orders["group"],
            orders["topic"],
            orders["partitions"],
            instance,
            orders["session_timeout"],
        )
        metadata = MemberMetadata(f"{instance or 'host'}:{os.getpid()}", instance, this_process(), "", "1")
        self._stuck = orders.get("stuck", 0)
        interval = orders.get("watch_interval", INTERVAL)
        self.membership = Membership(settings, metadata, lambda: None, self._new_consumer, interval)
        self._leases = Leases(self.membership.proofs, self._handle, settings.max_poll_interval / 3)

    def _new_consumer(self, *of: Any, **more: Any) -> GroupConsumer:
        """Create a client: the first ones are stuck if that was ordered."""
        self._stuck -= 1
        return GroupConsumer(*of, **more) if self._stuck < 0 else _Stuck(*of, **more)

    def _handle(self) -> None:
        """Called by the leases after each change, on the membership thread."""
        events = list(self._leases.events())
        leases = [each.lease for each in events if each.lease is not None]
        shards = sorted(each.shard for each in events)
        match events[0].signal if events else None:
            case ShardSignal.ASSIGNED:
                self._held |= {each.shard: each for each in leases}
                self._print("assigned", shards=shards)
            case ShardSignal.REVOKED:
                self._print("revoked", shards=shards)
                threading.Thread(target=self._release, args=(leases,), daemon=True).start()
            case ShardSignal.LOST:
                self._drop(leases)
                self._print("lost", shards=shards)

    def _release(self, leases: list[Lease]) -> None:
        """Release the shards after the ordered number of seconds, unless they are lost by then."""
        let_pass(self._orders.get("drain", 0.0))
        if all(each.is_over for each in leases):
            return
        self._drop(leases)
        self._print("released", shards=sorted(each.shard for each in leases))
        for each in leases:
            each.released.set()

    def _drop(self, leases: list[Lease]) -> None:
        for each in leases:
            each.revoke()
            if self._held.get(each.shard) is each:
                del self._held[each.shard]

    def run(self) -> int:
        """Run until SIGTERM, or until membership ends by itself; return the exit code."""
        signals: queue.SimpleQueue[int] = queue.SimpleQueue()  # Event.set in a signal handler can deadlock
        signal.signal(signal.SIGTERM, lambda number, _: signals.put(number))
        self._print("started", pid=os.getpid())
        self.membership.start(self._leases)
        prover = threading.Thread(target=self._prove, daemon=True)
        prover.start()
        while not self._has_ended():
            with suppress(queue.Empty):
                signals.get(timeout=_POLL_INTERVAL)
                break
        self.membership.stop()
        self._print("stopped" if self.membership.join(monotonic() + TIMEOUT) else "stuck")
        self._has_left.set()
        failure = self.membership.failure
        if failure is not None:
            self._print("failure", text=str(failure))
            return failure.exit_code
        return 70 if self.membership.bug else 0

    def _has_ended(self) -> bool:
        return self.membership.failure is not None or self.membership.bug is not None

    def _prove(self) -> None:
        """Prove the lease of one shard periodically."""
        while not self._has_left.wait(_PROOF_INTERVAL):
            lease = next(iter(self._held.values()), None)
            if lease is None:
                continue
            since = monotonic()
            proven = lease.prove(self._has_left.is_set)
            self._print("proof", shard=lease.shard, proven=proven, took=round(monotonic() - since, 3))

    def _print(self, what: str, **more: object) -> None:
        with self._lock:
            print(json.dumps({"what": what, "at": monotonic(), **more}), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    sys.exit(Member(json.loads(sys.argv[1])).run())
