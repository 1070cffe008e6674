"""The record that keeps the highest epoch of a shard's forgotten sessions. JSON in, JSON out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

FORGOTTEN_KEY = b"#forgotten"
"""Its key, in each partition of the checkpoints topic."""
TERM_HEADER = "bridge.term"
"""The header of a tombstone with its writer's fencing token: a tombstone has no value to carry it."""


class _Value(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)  # newer versions add keys

    version: Annotated[int, Field(ge=1)] = 1
    epoch: Annotated[int, Field(ge=0, lt=10**10)]
    term: Annotated[int, Field(ge=0)]  # the last member: the end of the value identifies the writer


def encode(epoch: int, fencing_token: int) -> bytes:
    """The record value; ``epoch`` is the highest one of all sessions of the shard that were forgotten."""
    return _Value(epoch=epoch, term=fencing_token).model_dump_json().encode()


def tombstone_headers(fencing_token: int) -> list[tuple[str, bytes]]:
    """The headers of a tombstone by this owner: where the session runs by now, its checkpoint is written again."""
    return [(TERM_HEADER, str(fencing_token).encode())]


def token_in(headers: Iterable[tuple[str, bytes | None]]) -> int | None:
    """The fencing token in the headers of a tombstone; None if its writer gave none: it was a command or a person."""
    token = dict(headers).get(TERM_HEADER) or b""
    return int(token) if token.isdigit() else None


def epoch_in(value: bytes) -> int:
    """The epoch in a value; 0 for a value that is not readable."""
    try:
        return _Value.model_validate_json(value).epoch
    except ValidationError:
        return 0
