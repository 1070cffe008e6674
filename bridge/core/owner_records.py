"""The records of the checkpoints topic that are no checkpoints: what the owners of shards wrote about them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bridge.core.records import claim
from bridge.core.records.checkpoint import BadCheckpoint
from bridge.core.records.claim import CLAIM_KEY, EXACTLY_ONCE_KEY, Claim

FORGOTTEN_KEY = b"#forgotten"
"""Its key, in each partition of the checkpoints topic."""
TERM_HEADER = "bridge.term"
"""The header of a tombstone with its writer's fencing token: a tombstone has no value to carry it."""


class _ForgottenEpoch(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)  # newer versions add keys

    version: Annotated[int, Field(ge=1)] = 1
    epoch: Annotated[int, Field(ge=0, lt=10**10)]
    term: Annotated[int, Field(ge=0)]  # the last member: the end of the value identifies the writer


def encode_forgotten(epoch: int, fencing_token: int) -> bytes:
    """The record value; ``epoch`` is the highest one of all sessions of the shard that were forgotten."""
    return _ForgottenEpoch(epoch=epoch, term=fencing_token).model_dump_json().encode()


def tombstone_headers(fencing_token: int) -> list[tuple[str, bytes]]:
    """The headers of a tombstone by this owner: where the session runs by now, its checkpoint is written again."""
    return [(TERM_HEADER, str(fencing_token).encode())]


def token_in(headers: Iterable[tuple[str, bytes | None]]) -> int | None:
    """The fencing token in the headers of a tombstone; None if its writer gave none: it was a command or a person."""
    token = dict(headers).get(TERM_HEADER) or b""
    return int(token) if token.isdigit() else None


def _forgotten_epoch_in(value: bytes) -> int:
    """The epoch in a value; 0 for a value that is not readable."""
    try:
        return _ForgottenEpoch.model_validate_json(value).epoch
    except ValidationError:
        return 0


class OwnerRecords:
    """Claims, and what owners noted, by partition. Thread rule: one thread."""

    def __init__(self) -> None:
        self.claimed_epoch = 0
        self._claims: dict[int, tuple[int, Claim]] = {}
        self._unfenced: set[int] = set()
        """Partitions in which a transaction of an earlier owner may still be committed."""
        self._had_exactly_once: set[int] = set()
        self._forgotten: defaultdict[int, int] = defaultdict(int)

    def add(self, partition: int, offset: int, key: bytes, value: bytes | None) -> None:
        """Add the next record; without a value it is a tombstone."""
        if key == CLAIM_KEY and value is not None:
            self._add_claim(partition, offset, value)
        elif key == EXACTLY_ONCE_KEY:
            self._note_exactly_once(partition, had=value is not None)
        elif key == FORGOTTEN_KEY and value is not None:
            # The highest of all: a stale owner may have written a lower one last.
            self._forgotten[partition] = max(self._forgotten[partition], _forgotten_epoch_in(value))

    def _note_exactly_once(self, partition: int, *, had: bool) -> None:
        if had:
            self._had_exactly_once.add(partition)
            self._unfenced.add(partition)
        else:
            self._had_exactly_once.discard(partition)

    def _add_claim(self, partition: int, offset: int, value: bytes) -> None:
        guarantee, fenced = "", False
        with suppress(BadCheckpoint):  # perhaps of a newer version: it takes the shard all the same
            found = claim.decode(value)
            self._claims[partition] = (offset, found)
            self.claimed_epoch = max(self.claimed_epoch, found.epoch)
            guarantee, fenced = found.guarantee, found.fenced
        if guarantee != "at_least_once":  # of an unknown version: it may be exactly once
            self._unfenced.add(partition)
        elif fenced:
            self._unfenced.discard(partition)

    def claim_of(self, partition: int) -> tuple[int, Claim] | None:
        """The newest readable claim, with its offset."""
        return self._claims.get(partition)

    def is_fenced(self, partition: int) -> bool:
        """Whether no transaction of an owner with exactly once can be committed any more."""
        return partition not in self._unfenced

    @property
    def may_have_transactions(self) -> bool:
        """Whether a transaction of an owner with exactly once may still be committed, in any partition.

        Not where no claim is: every owner claims its shard before its first transaction. An import into another topic
        must note it there, because claims stay behind.
        """
        return bool(self._unfenced)

    def had_exactly_once(self, partition: int) -> bool:
        """Whether there is the record that an owner had exactly once."""
        return partition in self._had_exactly_once

    def forgotten_epoch(self, partition: int) -> int:
        """The highest epoch of the partition's sessions whose checkpoints were removed; 0 if there are none."""
        return self._forgotten[partition]

    @property
    def highest_forgotten_epoch(self) -> int:
        """The same of all partitions: for other partitions, to which the sessions may belong by now."""
        return max(self._forgotten.values(), default=0)
