"""A claim: the record by which a process says that a shard is its own from here on. JSON in, JSON out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bridge.core.records.checkpoint import BadCheckpoint

CLAIM_KEY = b"#claim"
"""The key of every claim, in every partition of the checkpoints topic."""
_VERSION: Literal[1] = 1


@dataclass(frozen=True, slots=True)
class Claim:
    """Written into a shard's partition before that is read.

    The offset it gets is its writer's **term**: who writes a checkpoint behind a newer claim than its own is not the
    owner any more.
    """

    owner: str
    """For people: ``<instance or host>:<process id>``."""
    nonce: str
    """Of this one claim alone: its writer finds it again by it."""
    shards: int
    """Partitions of the checkpoints topic as the owner sees it."""
    servers: str
    """Fingerprint of the servers' names and URLs: all replicas of a namespace name the same."""
    claimed_ms: int
    """Unix time in milliseconds."""


class _Value(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)  # newer versions add keys

    version: Annotated[int, Field(ge=1)]
    owner: str
    nonce: str
    shards: Annotated[int, Field(ge=1)]
    servers: str
    claimed_ms: int


def encode(claim: Claim) -> bytes:
    """The record value of a claim."""
    value = _Value(
        version=_VERSION,
        owner=claim.owner,
        nonce=claim.nonce,
        shards=claim.shards,
        servers=claim.servers,
        claimed_ms=claim.claimed_ms,
    )
    return value.model_dump_json().encode()


def decode(value: bytes) -> Claim:
    """The claim in a record; raises :class:`BadCheckpoint` with one line that says what is wrong with it."""
    try:
        parsed = _Value.model_validate_json(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "value"
        raise BadCheckpoint(f"{place}: {first['msg']}") from error
    return Claim(parsed.owner, parsed.nonce, parsed.shards, parsed.servers, parsed.claimed_ms)
