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
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import structlog

from bridge.clock import monotonic
from bridge.core.records.member_metadata import MemberMetadata
from bridge.delivery.lease import Lease
from bridge.kafka.group_consumer import GroupSettings
from bridge.sharding.membership import Membership
from bridge.sharding.replica import this_process
from tests.support.waiting import TIMEOUT, let_pass

_POLL_INTERVAL = 0.02
_PROOF_INTERVAL = 0.1


class Member:
    """Prints each assignment and each loss, and proves a lease every 0.1 s."""

    def __init__(self, orders: Mapping[str, Any]) -> None:
        self._orders = orders
        self._lock = threading.Lock()
        self._has_left = threading.Event()
        self._leases: dict[int, Lease] = {}
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
        self.membership = Membership(settings, metadata, lambda: None)

    def assigned(self, shards: frozenset[int]) -> None:
        """Called by the membership."""
        for shard in shards:
            self._leases[shard] = Lease(shard, self.membership.proofs)
        self._print("assigned", shards=sorted(shards))

    def revoked(self, shards: frozenset[int]) -> Callable[[], bool]:
        """Called by the membership; the shards are released after the ordered number of seconds."""
        self._print("revoked", shards=sorted(shards))
        released = threading.Event()
        thread = threading.Thread(target=self._release, args=(shards, released), daemon=True)
        thread.start()
        return released.is_set

    def _release(self, shards: frozenset[int], released: threading.Event) -> None:
        let_pass(self._orders.get("drain", 0.0))
        for shard in shards:
            self._leases.pop(shard).revoke()
        self._print("released", shards=sorted(shards))
        released.set()

    def lost(self, shards: frozenset[int]) -> None:
        """Called by the membership."""
        for shard in shards:
            if lease := self._leases.pop(shard, None):
                lease.revoke()
        self._print("lost", shards=sorted(shards))

    def run(self) -> int:
        """Run until SIGTERM, or until membership ends by itself; return the exit code."""
        signals: queue.SimpleQueue[int] = queue.SimpleQueue()  # Event.set in a signal handler can deadlock
        signal.signal(signal.SIGTERM, lambda number, _: signals.put(number))
        self._print("started", pid=os.getpid())
        self.membership.start(self)
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
            lease = next(iter(self._leases.values()), None)
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
