"""A session's position as it stands in the checkpoints topic: JSON in, JSON out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bridge.clock import parse_rfc3339, rfc3339
from bridge.core.identity import Position, SessionKey
from bridge.core.stream.overlap import DIGEST_BYTES, MOST, OverlapWindow

VERSION = 1
OWN_KEY_PREFIX = b"#"
"""Keys that begin so are the bridge's own records, not a session's."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything up to ``position`` is in Kafka."""

    key: SessionKey
    position: Position
    state: Literal["active", "ended"]
    updated_ms: int
    """Unix time in milliseconds."""
    fingerprint: str
    """Of the settings that decided what was numbered; another one at restore means a new epoch."""
    overlap_window: OverlapWindow
    """Where to resume, and what a true replay begins with."""
    term: int | None = None
    """The offset of its writer's claim; None: written by a command, or by a version that made no claims."""


_Model = TypeVar("_Model", bound=BaseModel)


class BadCheckpoint(ValueError):
    """A record of the checkpoints topic that is not ours, or from a newer version."""


class _Version(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)  # newer versions add keys

    version: Annotated[int, Field(ge=1)]


class _Overlap(BaseModel):
    """The recent window. ``last``: the last event's id, where an id without an event has moved the stream's further."""

    model_config = ConfigDict(extra="ignore", strict=True)

    after: str
    last: str
    digests: Annotated[str, Field(pattern="^([0-9a-f]{16})*$", max_length=2 * DIGEST_BYTES * MOST)]
    certain: bool


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
    term: Annotated[int, Field(ge=0)] | None = None  # the last member: whose word it is can be told by how it ends


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
        ),
        term=checkpoint.term,
    )
    return value.model_dump_json().encode()


_EPOCH, _TERM = b',"epoch":', b',"term":'
_EPOCH_BYTES = len(_EPOCH) + 10


def ending(term: int) -> bytes:
    """How all checkpoints end that were written under this claim, and no others."""
    return b"%b%d}" % (_TERM, term)


def run_of(value: bytes) -> tuple[bytes, bytes]:
    """What checkpoints of one epoch and one claim have in common, found without taking the value apart.

    Nothing but a member can look so in JSON: in a text the quotes would be escaped. Ten bytes are an epoch of today; of
    a shorter one they hold what follows, which is the same. What is written otherwise is a run of its own.
    """
    at = value.find(_EPOCH)
    if at < 0:
        return value, b""
    return value[at : at + _EPOCH_BYTES], value[value.rfind(_TERM) :]


def term_of(run: tuple[bytes, bytes]) -> int:
    """The claim its checkpoints were written under; -1 for none."""
    digits = run[1][len(_TERM) : -1]
    return int(digits) if digits.isdigit() and len(digits) <= _MOST_DIGITS else -1


_MOST_DIGITS = 19
"""Of an offset, which has 63 bits."""


def decode(record_key: bytes, value: bytes) -> Checkpoint:
    """The checkpoint in a record; raises :class:`BadCheckpoint` with one line that says what is wrong with it."""
    parsed = _parse(value)
    key = SessionKey(parsed.server, parsed.session)
    if key.record_key != record_key:
        raise BadCheckpoint(f"the key says {record_key[:200]!r}, the value {str(key)[:200]!r}")
    position = Position(parsed.epoch, parsed.sequence, parsed.last_event_id)
    overlap_window = _overlap_window(parsed.last_event_id, parsed.overlap)
    updated_ms = _unix_ms(parsed.updated_at)
    return Checkpoint(key, position, parsed.state, updated_ms, parsed.fingerprint, overlap_window, parsed.term)


def _overlap_window(last_event_id: str, overlap: _Overlap | None) -> OverlapWindow:
    if overlap is None:  # from a version that kept none
        return OverlapWindow.starting(last_event_id)
    return OverlapWindow(overlap.after, overlap.last, bytes.fromhex(overlap.digests), overlap.certain)


def _parse(value: bytes) -> _Value:
    try:
        parsed = _Value.model_validate_json(value)  # once, where nothing is wrong: 100,000 are restored at a start
    except ValidationError:
        parsed = None
    if parsed is not None and parsed.version <= VERSION:
        return parsed
    version = _validated(_Version, value).version  # first: a newer version may have changed anything else
    if version > VERSION:
        raise BadCheckpoint(f"version {version} is newer than this mix-bridge knows ({VERSION}): start a newer one")
    return _validated(_Value, value)


def _validated(model: type[_Model], value: bytes) -> _Model:
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
