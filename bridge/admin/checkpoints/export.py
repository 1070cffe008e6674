"""The file format of ``checkpoints export``: a header line, then one JSON object per line. Pure.

A line is the value of a checkpoint record. One JSON document with the same members can be read too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bridge.core.checkpoint_log import StoredCheckpoint
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import BadCheckpoint, Checkpoint, decode, encode, epoch_in
from bridge.core.records.numbers import json_object
from bridge.core.terminal_text import visible
from bridge.sharding.invalid_checkpoints import session_of

FORMAT: Literal["mix-bridge checkpoints"] = "mix-bridge checkpoints"
VERSION: Literal[1] = 1
_MAX_ERRORS = 20


class Header(BaseModel):
    """Where and when the positions were exported."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)  # newer versions add keys

    format: Literal["mix-bridge checkpoints"] = FORMAT
    version: Literal[1] = VERSION
    namespace: str
    topic: str
    partitions: Annotated[int, Field(ge=1)]
    exported_at: str
    """RFC 3339."""
    count: Annotated[int, Field(ge=0)]
    """The number of positions that follow: a truncated file is detected by it."""
    forgotten_epoch: Annotated[int, Field(ge=0, lt=10**10)] = 0
    """The highest epoch of ended sessions that were forgotten: one that comes back starts above it."""
    exactly_once: bool = False
    """A transaction of a former owner may still be committed: a next owner with at least once fences it first."""


@dataclass(frozen=True, slots=True)
class Export:
    """An export."""

    header: Header
    checkpoints: tuple[Checkpoint, ...]


class InvalidExport(ValueError):
    """A file that is not a valid export. One line for each error, with its place."""


def position_of(stored: StoredCheckpoint) -> Checkpoint | None:
    """Return where the session resumes, in its highest known epoch; misplaced checkpoints count too."""
    furthest = stored.furthest
    if furthest is None:
        return None
    epoch = max(furthest.position.epoch, stored.epoch or 0)
    return replace(
        furthest, position=furthest.position._replace(epoch=epoch), fencing_token=None
    )  # a fencing token belongs to its topic


def lines(export: Export) -> Iterator[bytes]:
    """Return the lines of the file."""
    yield export.header.model_dump_json().encode()
    yield from map(encode, export.checkpoints)


def document(export: Export) -> dict[str, Any]:
    """Return the same as one JSON document."""
    checkpoints = [json.loads(encode(each)) for each in export.checkpoints]
    return {**export.header.model_dump(), "checkpoints": checkpoints}


def parse(content: bytes) -> Export:
    """Parse a file. Raises `InvalidExport` with all errors."""
    header, rows = _split(content)
    found: dict[SessionKey, tuple[str, Checkpoint]] = {}
    errors = []
    for place, row in rows:
        try:
            one = _checkpoint(row)
        except BadCheckpoint as bad:
            errors.append(f"{place}: {visible(str(bad))}")
            continue
        if one.key in found:
            errors.append(f"{place}: {visible(str(one.key))} is in {found[one.key][0]} too")
        found[one.key] = (place, one)
    if len(rows) != header.count:
        errors.append(
            f"the header says {header.count} checkpoints, the file has {len(rows)}: it was truncated or joined"
        )
    if errors:
        more = [f"and {len(errors) - _MAX_ERRORS} more errors"] if len(errors) > _MAX_ERRORS else []
        raise InvalidExport("\n".join([*errors[:_MAX_ERRORS], *more]))
    return Export(header, tuple(one for _, one in found.values()))


_Rows = Sequence[tuple[str, bytes]]


def _split(content: bytes) -> tuple[Header, _Rows]:
    numbered = [(f"line {at}", line) for at, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    if not numbered:
        raise InvalidExport("it is empty")
    first = json_object(numbered[0][1])
    if first.get("format") == FORMAT and "checkpoints" not in first:
        return _header(numbered[0][1], numbered[0][0]), numbered[1:]
    whole = json_object(content)
    checkpoints = whole.pop("checkpoints", None)
    if whole.get("format") != FORMAT or not isinstance(checkpoints, list):
        raise InvalidExport("line 1: it is not the header of an export of checkpoints")
    rows = [(f"checkpoint {at}", json.dumps(each).encode()) for at, each in enumerate(checkpoints, 1)]
    return _header(json.dumps(whole).encode(), "the header"), rows


def _header(text: bytes, place: str) -> Header:
    version = json_object(text).get("version")
    if isinstance(version, int) and version > VERSION:
        raise InvalidExport(
            f"{place}: version {version} is newer than this mix-bridge knows ({VERSION}): use a newer one"
        )
    try:
        return Header.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise InvalidExport(f"{place}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _checkpoint(row: bytes) -> Checkpoint:
    members = json_object(row)
    if not members:
        raise BadCheckpoint("it is not a JSON object")
    key = f"{members.get('server')}/{members.get('session')}".encode(errors="surrogatepass")
    if session_of(key) is None:
        raise BadCheckpoint(f"{visible(key.decode(errors='backslashreplace'))!r} is not SERVER/SESSION")
    if epoch_in(row) is None:
        raise BadCheckpoint("epoch: it is too large, or not a number")
    return decode(key, row)
