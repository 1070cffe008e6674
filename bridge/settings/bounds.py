"""Fixed times of the bridge that limit settings."""

from __future__ import annotations

TRANSACTION_TIMEOUT = 60.0
"""Seconds after which the brokers abort an open transaction.

It is longer than a partition has no leader after the loss of a broker; otherwise each loss would abort the open
transactions. It is no longer than that, because until then the open transaction of a dead replica blocks consumers with
``read_committed`` if no other replica acquires the shard. ``transaction.max.timeout.ms`` of the brokers (default: 15
minutes) must allow it.
"""
TRANSACTION_TIMEOUT_MS = round(TRANSACTION_TIMEOUT * 1000)

REQUEST_TIMEOUT_MS = 10_000
"""Minimum timeout of one request of a transactional producer.

After a shorter timeout the request is sent again while the first may still be in progress, and a duplicate commit may
end a later transaction.
"""
