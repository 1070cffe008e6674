"""Positions on their way from one checkpoints topic to another: a header, then one JSON object a line. Pure.

A line is what the record's value is. One JSON document with the same members is understood as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bridge.core.checkpoint_log import StoredCheckpoint, epoch_in, lenient
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import BadCheckpoint, Checkpoint, decode, encode
from bridge.core.terminal_text import visible
from bridge.sharding.invalid_checkpoints import session_of

FORMAT: Literal["mix-bridge checkpoints"] = "mix-bridge checkpoints"
VERSION: Literal[1] = 1
_TOLD = 20
"""Damages told one by one."""


class Header(BaseModel):
    """Where the positions come from."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)  # newer versions add keys

    format: Literal["mix-bridge checkpoints"] = FORMAT
    version: Literal[1] = VERSION
    namespace: str
    topic: str
    partitions: Annotated[int, Field(ge=1)]
    exported_at: str
    """RFC 3339."""
    count: Annotated[int, Field(ge=0)]
    """Of the positions that follow: a file that was cut off is recognised by it."""


@dataclass(frozen=True, slots=True)
class Export:
    """A whole export."""

    header: Header
    checkpoints: tuple[Checkpoint, ...]


class Damaged(ValueError):
    """An export that cannot be gone by: every damage a line, with its place."""


def position_of(stored: StoredCheckpoint) -> Checkpoint | None:
    """Where the session goes on, in the highest epoch that anybody told of; also one whose partition is another now."""
    furthest = stored.furthest
    if furthest is None:
        return None
    epoch = max(furthest.position.epoch, stored.epoch or 0)
    return replace(
        furthest, position=furthest.position._replace(epoch=epoch), fencing_token=None
    )  # a term is its topic's own


def lines(export: Export) -> Iterator[bytes]:
    """As they stand in a file."""
    yield export.header.model_dump_json().encode()
    yield from map(encode, export.checkpoints)


def document(export: Export) -> dict[str, Any]:
    """The same as one document."""
    checkpoints = [json.loads(encode(each)) for each in export.checkpoints]
    return {**export.header.model_dump(), "checkpoints": checkpoints}


def understood(content: bytes) -> Export:
    """The export in a file; raises `Damaged` with everything that is wrong, each with its place."""
    header, rows = _taken_apart(content)
    found: dict[SessionKey, tuple[str, Checkpoint]] = {}
    damages = []
    for place, row in rows:
        try:
            one = _checkpoint(row)
        except BadCheckpoint as bad:
            damages.append(f"{place}: {visible(str(bad))}")
            continue
        if one.key in found:
            damages.append(f"{place}: {visible(str(one.key))} stands in {found[one.key][0]} already")
        found[one.key] = (place, one)
    if len(rows) != header.count:
        damages.append(
            f"the header tells of {header.count} checkpoints, and there are {len(rows)}: it was cut or joined"
        )
    if damages:
        more = [f"and {len(damages) - _TOLD} more damages"] if len(damages) > _TOLD else []
        raise Damaged("\n".join([*damages[:_TOLD], *more]))
    return Export(header, tuple(one for _, one in found.values()))


_Rows = Sequence[tuple[str, bytes]]


def _taken_apart(content: bytes) -> tuple[Header, _Rows]:
    numbered = [(f"line {at}", line) for at, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    if not numbered:
        raise Damaged("it is empty")
    first = lenient(numbered[0][1])
    if first.get("format") == FORMAT and "checkpoints" not in first:
        return _header(numbered[0][1], numbered[0][0]), numbered[1:]
    whole = lenient(content)
    checkpoints = whole.pop("checkpoints", None)
    if whole.get("format") != FORMAT or not isinstance(checkpoints, list):
        raise Damaged("line 1: it is no header of an export of checkpoints")
    rows = [(f"checkpoint {at}", json.dumps(each).encode()) for at, each in enumerate(checkpoints, 1)]
    return _header(json.dumps(whole).encode(), "the header"), rows


def _header(text: bytes, place: str) -> Header:
    version = lenient(text).get("version")
    if isinstance(version, int) and version > VERSION:
        raise Damaged(f"{place}: version {version} is newer than this mix-bridge knows ({VERSION}): use a newer one")
    try:
        return Header.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise Damaged(f"{place}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _checkpoint(row: bytes) -> Checkpoint:
    members = lenient(row)
    if not members:
        raise BadCheckpoint("it is no JSON object")
    key = f"{members.get('server')}/{members.get('session')}".encode(errors="surrogatepass")
    if session_of(key) is None:
        raise BadCheckpoint(f"{visible(key.decode(errors='backslashreplace'))!r} is no server/session")
    if epoch_in(row) is None:
        raise BadCheckpoint("epoch: it is none that another could follow")
    return decode(key, row)
