"""The JSON codec of checkpoints: the position of a session in the checkpoints topic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bridge.clock import parse_rfc3339, rfc3339
from bridge.core.identity import Position, SessionKey
from bridge.core.records.numbers import json_object
from bridge.core.stream.overlap import DIGEST_BYTES, MOST, OverlapWindow

VERSION = 1
OWN_KEY_PREFIX = b"#"
"""Records with such keys are the bridge's own; they belong to no session."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything up to ``position`` is in Kafka."""

    key: SessionKey
    position: Position
    state: Literal["active", "ended"]
    updated_ms: int
    """Unix time in milliseconds."""
    fingerprint: str
    """Of the rules that decide which events are numbered, and how; a different one at restore starts a new epoch."""
    overlap_window: OverlapWindow
    """Where to resume, and the known events that a true replay begins with."""
    fencing_token: int | None = None
    """The offset of its writer's claim; None: written by a command, or by a version without claims."""


_LARGEST_EPOCH = 10**10 - 2
"""A larger epoch has no successor in 10 digits; no record carries one."""
_Model = TypeVar("_Model", bound=BaseModel)


class BadCheckpoint(ValueError):
    """A record of the checkpoints topic that is not a valid checkpoint, or comes from a newer version."""


class _Version(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)  # newer versions add keys

    version: Annotated[int, Field(ge=1)]


class _Overlap(BaseModel):
    """The overlap window. ``last`` is the id of the last event; an id-only block may have moved the stream's id on."""

    model_config = ConfigDict(extra="ignore", strict=True)

    after: str
    last: str
    digests: Annotated[str, Field(pattern="^([0-9a-f]{16})*$", max_length=2 * DIGEST_BYTES * MOST)]
    certain: bool
    new: bool = False
    """Written only if true: the session's first epoch."""


class _Value(_Version):
    server: str
    session: str
    last_event_id: str
    epoch: Annotated[int, Field(ge=0, lt=10**10)]
    sequence: Annotated[int, Field(ge=0, lt=10**12)]
    state: Literal["active", "ended"]
    updated_at: str
    fingerprint: str = ""
    overlap: _Overlap | None = None
    term: Annotated[int, Field(ge=0)] | None = None  # the last member: the end of the value identifies the writer


def encode(checkpoint: Checkpoint) -> bytes:
    """The record value of a checkpoint."""
    key, position, overlap_window = checkpoint.key, checkpoint.position, checkpoint.overlap_window
    value = _Value(
        version=VERSION,
        server=key.server,
        session=key.session_id,
        last_event_id=position.last_event_id,
        epoch=position.epoch,
        sequence=position.sequence,
        state=checkpoint.state,
        updated_at=rfc3339(checkpoint.updated_ms),
        fingerprint=checkpoint.fingerprint,
        overlap=_Overlap(
            after=overlap_window.after,
            last=overlap_window.cursor,
            digests=overlap_window.digests.hex(),
            certain=overlap_window.certain,
            new=overlap_window.is_new,
        ),
        term=checkpoint.fencing_token,
    )
    return value.model_dump_json(exclude=None if overlap_window.is_new else _NOT_NEW).encode()


_NOT_NEW = {"overlap": {"new"}}


_EPOCH, _SEQUENCE, _TERM = b',"epoch":', b',"sequence":', b',"term":'
_EPOCH_BYTES = len(_EPOCH) + 10


def token_suffix(fencing_token: int) -> bytes:
    """The bytes at the end of all checkpoints with this token, and of no others."""
    return b"%b%d}" % (_TERM, fencing_token)


def epoch_and_token(value: bytes) -> tuple[bytes, bytes]:
    """The bytes that all checkpoints of one epoch and one token share, found without parsing the value.

    Only a member can look like this in JSON: inside a string the quotes would be escaped. Today's epochs have ten
    digits; after a shorter one the ten bytes include the text that follows, which is the same in all of them. A value
    in another notation shares its bytes with no other.
    """
    at = value.find(_EPOCH)
    if at < 0:
        return value, b""
    return value[at : at + _EPOCH_BYTES], value[value.rfind(_TERM) :]


def position_in(value: bytes) -> int | None:
    """A number that rises with epoch and sequence, found without parsing the value; None in another notation."""
    at = value.find(_EPOCH)
    epoch, _, rest = value[at + len(_EPOCH) :].partition(_SEQUENCE)
    sequence = rest[: rest.find(b",")]
    if at < 0 or not (epoch.isdigit() and sequence.isdigit()):
        return None
    return int(epoch) * 10**12 + int(sequence)


def token_of(shared: tuple[bytes, bytes]) -> int:
    """The fencing token in the result of `epoch_and_token`; -1 for none."""
    digits = shared[1][len(_TERM) : -1]
    return int(digits) if digits.isdigit() and len(digits) <= _MOST_DIGITS else -1


_MOST_DIGITS = 19
"""Digits of the largest offset, which has 63 bits."""


def decode(record_key: bytes, value: bytes) -> Checkpoint:
    """The checkpoint in a record; raises :class:`BadCheckpoint` with one line that names the first error."""
    parsed = _parse(value)
    key = SessionKey(parsed.server, parsed.session)
    if key.record_key != record_key:
        raise BadCheckpoint(f"the key is {record_key[:200]!r}, the value names {str(key)[:200]!r}")
    position = Position(parsed.epoch, parsed.sequence, parsed.last_event_id)
    overlap_window = _overlap_window(parsed.last_event_id, parsed.overlap)
    updated_ms = _unix_ms(parsed.updated_at)
    return Checkpoint(key, position, parsed.state, updated_ms, parsed.fingerprint, overlap_window, parsed.term)


def _overlap_window(last_event_id: str, overlap: _Overlap | None) -> OverlapWindow:
    if overlap is None:  # written by a version without overlap
        return OverlapWindow.starting(last_event_id)
    return OverlapWindow(overlap.after, overlap.last, bytes.fromhex(overlap.digests), overlap.certain, overlap.new)


def _parse(value: bytes) -> _Value:
    try:
        parsed = _Value.model_validate_json(value)  # one pass for valid values: a start restores 100,000
    except ValidationError:
        parsed = None
    if parsed is not None and parsed.version <= VERSION:
        return parsed
    version = validated(_Version, value).version  # before the rest: a newer version may have changed anything else
    if version > VERSION:
        raise BadCheckpoint(f"version {version} is newer than this mix-bridge supports ({VERSION}): start a newer one")
    return validated(_Value, value)


def validated(model: type[_Model], value: bytes) -> _Model:
    """The value as this model; raises :class:`BadCheckpoint` with one line that names the first error."""
    try:
        return model.model_validate_json(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "value"
        raise BadCheckpoint(f"{place}: {first['msg']}") from error


def _unix_ms(text: str) -> int:
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise BadCheckpoint(f"updated_at: {error}") from error


def epoch_in(value: bytes) -> int | None:
    """The epoch in a value, also in one that is otherwise invalid; None without a possible one."""
    epoch = json_object(value).get("epoch")
    if isinstance(epoch, str) and epoch.isascii() and epoch.isdigit() and len(epoch) <= 10:  # noqa: PLR2004 - the digits of an epoch
        epoch = int(epoch)
    is_possible = isinstance(epoch, int) and not isinstance(epoch, bool) and 0 <= epoch <= _LARGEST_EPOCH
    return epoch if is_possible else None
