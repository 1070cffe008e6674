"""Exports the positions of all sessions, and imports them into another topic.

The file has a header line, then one JSON object per line: the value of a checkpoint record. One JSON document with the
same members can be read too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bridge.admin.checkpoints.edit import (
    REFUSED,
    Edit,
    Refused,
    epoch_floors,
    exactly_once_notes,
    is_behind,
    is_imported,
    moved,
)
from bridge.admin.checkpoints.topic import CheckpointsTopic
from bridge.admin.text import counted
from bridge.clock import rfc3339, unix_ms
from bridge.core.checkpoint_log import StoredCheckpoint
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import BadCheckpoint, Checkpoint, decode, encode, epoch_in
from bridge.core.records.numbers import json_object
from bridge.core.terminal_text import visible
from bridge.errors import SettingsError
from bridge.sharding.invalid_checkpoints import mistakes_of, session_of

FORMAT: Literal["mix-bridge checkpoints"] = "mix-bridge checkpoints"
VERSION: Literal[1] = 1
_MAX_ERRORS = 20
_MAX_NAMES = 20


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
    position = furthest.position._replace(epoch=epoch)
    return replace(furthest, position=position, fencing_token=None)  # a fencing token belongs to its topic


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
        counts = f"the header says {header.count} checkpoints, the file has {len(rows)}"
        errors.append(f"{counts}: it was truncated or joined")
    if errors:
        more = [f"and {len(errors) - _MAX_ERRORS} more errors"] if len(errors) > _MAX_ERRORS else []
        raise InvalidExport("\n".join([*errors[:_MAX_ERRORS], *more]))
    return Export(header, tuple(one for _, one in found.values()))


def _split(content: bytes) -> tuple[Header, Sequence[tuple[str, bytes]]]:
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
        newer = f"version {version} is newer than this mix-bridge knows ({VERSION})"
        raise InvalidExport(f"{place}: {newer}: use a newer one")
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


def exported(topic: CheckpointsTopic) -> Export:
    """Export all positions. Raises `SettingsError` with the checkpoints that a start would refuse."""
    if invalid := [each for each in topic.log.invalid if each.misplaced is None]:
        raise SettingsError(mistakes_of(topic.name, invalid))
    positions = [position_of(stored) for stored in topic.log.stored_checkpoints().values()]
    checkpoints = tuple(one for one in positions if one is not None)
    header = Header(
        namespace=topic.access.settings.namespace,
        topic=topic.name,
        partitions=topic.partitions,
        exported_at=rfc3339(unix_ms()),
        count=len(checkpoints),
        forgotten_epoch=topic.log.owners.highest_forgotten_epoch,
        exactly_once=topic.log.owners.may_have_transactions,
    )
    return Export(header, checkpoints)


@dataclass(frozen=True, slots=True)
class Import:
    """The edits of an import."""

    edits: Sequence[Edit]
    already: int
    """Positions that an earlier import has written."""
    behind: Sequence[Checkpoint]
    """Positions of sessions that continued after the export."""
    of_shards: Sequence[Edit] = ()
    """For each partition that lacks them: the highest epoch of forgotten sessions, and that there was exactly once."""

    @classmethod
    def plan(cls, export: Export, topic: CheckpointsTopic) -> Import:
        """Compare with the topic. A new epoch each: the old one may contain records published after the export."""
        edits, already, behind, now_ms = [], 0, [], unix_ms()
        stored_checkpoints = topic.log.stored_checkpoints()
        for one in export.checkpoints:
            stored = stored_checkpoints.get(one.key.record_key) or topic.log.stored(one.key.record_key)
            if is_imported(one, stored):
                already += 1
                continue
            if is_behind(one, stored):
                behind.append(one)
            edits.append(moved(one, stored, topic.partitions, now_ms))
        of_shards = epoch_floors(topic.log, topic.partitions, export.header.forgotten_epoch)
        if export.header.exactly_once:
            of_shards += exactly_once_notes(topic.log, topic.partitions)
        return cls(edits, already, behind, of_shards)

    def refuse_if_behind(self, topic: CheckpointsTopic) -> None:
        """Raise `Refused` if a session continued after the export."""
        if self.behind:
            names = [f"  {visible(str(one.key))}" for one in self.behind[:_MAX_NAMES]]
            names += [f"  and {len(self.behind) - _MAX_NAMES} more"] if len(self.behind) > _MAX_NAMES else []
            why = f"{counted(len(self.behind), 'session')} continued in {topic.name} after the export"
            effect = "--force imports anyway: events published since then are published again"
            raise Refused("\n".join([f"{REFUSED} {why} ({effect}):", *names]))

    def document(self, export: Export, topic: CheckpointsTopic) -> dict[str, Any]:
        """Return the document of ``import``."""
        return {
            "topic": topic.name,
            "partitions": topic.partitions,
            "imported": len(self.edits),
            "already_there": self.already,
            "taken_back": len(self.behind),
            "from": export.header.model_dump(),
        }

    def line(self, export: Export, topic: CheckpointsTopic) -> str:
        """Return the result in one line."""
        header, counts = export.header, []
        if self.edits:
            shards = {edit.writes[0].partition for edit in self.edits}
            where = f"{len(shards)} of {counted(topic.partitions, 'partition')}"
            counts.append(f"{counted(len(self.edits), 'position')} written to {where}, acknowledged")
        if self.already:
            counts.append(f"{counted(self.already, 'position')} imported before")
        source = f"exported {visible(header.exported_at)} from {visible(header.topic)}"
        source += f", {counted(header.partitions, 'partition')}"
        return f"{topic.name}: {'; '.join(counts) or 'no position to write'} ({source})"


def refuse_foreign(export: Export, topic: CheckpointsTopic) -> None:
    """Raise `Refused` if the export is of another namespace."""
    own = topic.access.settings.namespace
    if export.header.namespace != own:
        other = visible(export.header.namespace)
        raise Refused(f"{REFUSED} the positions are of namespace {other}, not {own} (--force imports them anyway)")
