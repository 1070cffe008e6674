"""A claim: the record by which a process takes ownership of a shard. JSON in, JSON out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from bridge.core.records.checkpoint import validated

CLAIM_KEY = b"#claim"
"""The key of every claim, in every partition of the checkpoints topic."""
EXACTLY_ONCE_KEY = b"#exactly_once"
"""The key of a record that says that an owner of the shard had exactly once. Compaction keeps only the newest claim:
that of a next owner with at least once replaces the one that says so, before it has fenced the transactions."""
EXACTLY_ONCE = b'{"version":1}'
"""The value of that record. An owner with at least once writes a tombstone once the transactions are fenced."""
_VERSION: Literal[1] = 1


@dataclass(frozen=True, slots=True)
class Claim:
    """A process writes it into a shard's partition before it reads the partition.

    Its offset is the writer's **fencing token**: a process that writes a checkpoint after a claim newer than its own no
    longer owns the shard.
    """

    owner: str
    """For people: ``<instance or host>:<process id>``."""
    nonce: str
    """Unique per claim: its writer recognises it by this."""
    shards: int
    """Partitions of the checkpoints topic as the owner sees it."""
    servers: str
    """Fingerprint of the servers' names and URLs: the same in all replicas of a namespace."""
    claimed_ms: int
    """Unix time in milliseconds."""
    guarantee: str = ""
    """``delivery.guarantee`` of the owner; empty: written by a version without it."""
    fenced: bool = False
    """At least once: no transaction of an earlier owner can be committed any more."""
    epoch: int = 0
    """The highest epoch of the shard that the owner knew, also of sessions whose checkpoints are gone by now."""


class _Value(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)  # newer versions add keys

    version: Annotated[int, Field(ge=1)]
    owner: str
    nonce: str
    shards: Annotated[int, Field(ge=1)]
    servers: str
    claimed_ms: int
    guarantee: str = ""
    fenced: bool = False
    epoch: Annotated[int, Field(ge=0, lt=10**10)] = 0


def encode(claim: Claim) -> bytes:
    """The record value of a claim."""
    return _Value(version=_VERSION, **asdict(claim)).model_dump_json().encode()


def decode(value: bytes) -> Claim:
    """The claim in a record; raises :class:`BadCheckpoint` with the reason in one line."""
    return Claim(**validated(_Value, value).model_dump(exclude={"version"}))
