"""Names of the bridge in Kafka, and the fingerprint that all replicas of a namespace must share. Pure."""

from __future__ import annotations

import hashlib
import json

from bridge.settings.model import Settings

_OF_ONE_REPLICA = {"instance", "workers", "http", "log", "start_timeout"}
"""Settings in which the replicas of a namespace may differ."""


def group_of(namespace: str) -> str:
    """The consumer group whose members are the replicas."""
    return f"{namespace}.bridge"


def transactional_ids_of(namespace: str) -> str:
    """The prefix of every transactional id, for ACLs."""
    return f"{namespace}.bridge."


def transactional_id(namespace: str, shard: int) -> str:
    """The transactional id of a shard. Its new owner fences the producers of earlier owners."""
    return f"{transactional_ids_of(namespace)}{shard}"


def trial_transactional_id(namespace: str) -> str:
    """A transactional id of no shard: a permission check with it fences no owner."""
    return f"{transactional_ids_of(namespace)}check"


def servers_fingerprint(settings: Settings) -> str:
    """Equal for all replicas with the same servers, independent of credentials and a slash at the end."""
    servers = {name: server.url.public.rstrip("/") for name, server in settings.servers.items()}
    return hashlib.sha256(json.dumps(servers, sort_keys=True).encode()).hexdigest()[:16]


def settings_sha256(settings: Settings) -> str:
    """Equal for all replicas with the same settings, secrets and the settings of one process aside."""
    shared = settings.model_dump(mode="json", exclude=_OF_ONE_REPLICA)  # secrets are masked in it
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()


TRANSACTION_TIMEOUT = 60.0
"""Seconds after which the brokers abort an open transaction.

It is longer than a partition has no leader after the loss of a broker; otherwise each loss would abort the open
transactions. It is no longer than that, because until then the open transaction of a dead replica blocks consumers with
``read_committed`` if no other replica acquires the shard. ``transaction.max.timeout.ms`` of the brokers (default: 15
minutes) must allow it.
"""
TRANSACTION_TIMEOUT_MS = round(TRANSACTION_TIMEOUT * 1000)
