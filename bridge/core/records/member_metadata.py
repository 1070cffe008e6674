"""What the owner of a shard says of itself in the group's own book: JSON in the metadata of its committed offsets."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class MemberMetadata:
    """One process of the group. Kafka keeps 4 KiB of metadata at most, so every field is short."""

    owner: str
    """For people: ``<instance or host>:<process id>``."""
    instance: str | None
    run: str
    """Of this one process: after a restart it is another."""
    servers: str
    """Fingerprint of the servers' names and URLs."""
    version: str
    beat: int = 0
    """Rises with each commit: one that does not move belongs to a process that is gone, or stands still."""
    has_left: bool = False
    """The last words of an orderly stop."""

    def at(self, beat: int, *, has_left: bool = False) -> MemberMetadata:
        """The same process, one commit later."""
        return replace(self, beat=beat, has_left=has_left)


def encode(member_metadata: MemberMetadata) -> str:
    """The metadata of a commit."""
    value = {
        "owner": member_metadata.owner,
        "instance": member_metadata.instance,
        "run": member_metadata.run,
        "servers": member_metadata.servers,
        "version": member_metadata.version,
        "beat": member_metadata.beat,
        "left": member_metadata.has_left,
    }
    return json.dumps(value, separators=(",", ":"))


def decode(metadata: str | None) -> MemberMetadata | None:
    """The badge in a commit's metadata; None when it holds none, as with a commit made by somebody's tool."""
    try:
        value = json.loads(metadata or "")
    except ValueError:
        return None
    return _member_metadata(value) if isinstance(value, dict) else None


def _member_metadata(value: dict[str, Any]) -> MemberMetadata | None:
    texts = [value.get(name) for name in ("owner", "run", "servers", "version")]
    instance, beat = value.get("instance"), value.get("beat")
    if not all(isinstance(text, str) for text in texts) or not isinstance(beat, int):
        return None
    owner, run, servers, version = map(str, texts)
    name = instance if isinstance(instance, str) else None
    return MemberMetadata(owner, name, run, servers, version, beat, value.get("left") is True)
