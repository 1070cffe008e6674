"""What the bridge is called in Kafka, and what all replicas of a namespace must have in common. Pure."""

from __future__ import annotations

import hashlib
import json

from bridge.settings.model import Settings


def group_of(namespace: str) -> str:
    """The consumer group whose members are the replicas."""
    return f"{namespace}.bridge"


def transactional_ids_of(namespace: str) -> str:
    """What every transactional id begins with: the prefix to grant."""
    return f"{namespace}.bridge."


def transactional_id(namespace: str, shard: int) -> str:
    """Whoever owns the shard writes under it, and nobody else can from then on."""
    return f"{transactional_ids_of(namespace)}{shard}"


def trial_transactional_id(namespace: str) -> str:
    """One that is no shard's: to find out what Kafka allows without shutting anybody out."""
    return f"{transactional_ids_of(namespace)}check"


def servers_fingerprint(settings: Settings) -> str:
    """The same for all replicas that name the same servers, whatever credentials and paths' ends they write."""
    servers = {name: server.url.public.rstrip("/") for name, server in settings.servers.items()}
    return hashlib.sha256(json.dumps(servers, sort_keys=True).encode()).hexdigest()[:16]
