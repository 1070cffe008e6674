"""The description of a shard's owner in the metadata of its committed offset. JSON in, JSON out."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class MemberMetadata:
    """One process of the group. Kafka stores at most 4 KiB of metadata, so every field is short."""

    owner: str
    """For people: ``<instance or host>:<process id>``."""
    instance: str | None
    run: str
    """The process identity: another one after each restart."""
    servers: str
    """Fingerprint of the servers' names and URLs."""
    version: str
    heartbeat: int = 0
    """Increases with each commit: if it does not change, the process is dead or stalled."""
    has_left: bool = False
    """The last commit of a graceful shutdown."""
    guarantee: str = ""
    """``delivery.guarantee``; empty: committed by a version without it."""
    since_ms: int = 0
    """When its present membership began: the first assignment while it owned nothing, in Unix milliseconds."""

    def at(self, heartbeat: int, *, has_left: bool = False) -> MemberMetadata:
        """The same process at a later commit."""
        return replace(self, heartbeat=heartbeat, has_left=has_left)


def encode(member: MemberMetadata) -> str:
    """The metadata of a commit."""
    value = {
        "owner": member.owner,
        "instance": member.instance,
        "run": member.run,
        "servers": member.servers,
        "version": member.version,
        "beat": member.heartbeat,
        "left": member.has_left,
        "guarantee": member.guarantee,
        "since": member.since_ms,
    }
    return json.dumps(value, separators=(",", ":"))


def decode(metadata: str | None) -> MemberMetadata | None:
    """The description in a commit's metadata; None for a commit of another program."""
    try:
        value = json.loads(metadata or "")
    except ValueError:
        return None
    return _member_metadata(value) if isinstance(value, dict) else None


def _member_metadata(value: dict[str, Any]) -> MemberMetadata | None:
    texts = [value.get(name) for name in ("owner", "run", "servers", "version")]
    instance, heartbeat = value.get("instance"), value.get("beat")
    guarantee, since_ms = value.get("guarantee", ""), value.get("since", 0)
    if not all(isinstance(text, str) for text in texts) or not isinstance(heartbeat, int):
        return None
    owner, run, servers, version = map(str, texts)
    name = instance if isinstance(instance, str) else None
    if not isinstance(guarantee, str) or not isinstance(since_ms, int):
        guarantee, since_ms = "", 0
    return MemberMetadata(owner, name, run, servers, version, heartbeat, value.get("left") is True, guarantee, since_ms)
