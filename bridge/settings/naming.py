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
