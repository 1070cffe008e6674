"""Times that are the bridge's own to choose, and that settings must agree with."""

from __future__ import annotations

TRANSACTION_TIMEOUT = 60.0
"""Seconds after which the brokers abort a transaction that nobody ends.

Longer than a partition is without a leader when a broker is lost, or each such loss would cost the transactions that
were open; and no longer, since until then a dead replica's transaction keeps readers of committed records waiting
wherever no other replica takes its shard. The brokers' ``transaction.max.timeout.ms`` (15 minutes unless set) must
allow it.
"""
TRANSACTION_TIMEOUT_MS = round(TRANSACTION_TIMEOUT * 1000)

REQUEST_TIMEOUT_MS = 10_000
"""The least that one request of a transactional producer must be allowed to take: one that is given up sooner is sent
again while the first may still be under way, and a commit that comes twice may end a later transaction."""
