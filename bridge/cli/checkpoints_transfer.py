"""``mix-bridge checkpoints export`` and ``import``: positions on their way to a topic with other partitions."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import typer

from bridge.admin.checkpoints.access import CheckpointsTopic, living, named
from bridge.admin.checkpoints.edit import Edit, imported, is_behind, is_imported
from bridge.cli.kafka_access import JSON_OPTION, counted, echo_json
from bridge.cli.options import Given, takes_settings
from bridge.clock import rfc3339, unix_ms
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.terminal_text import visible
from bridge.errors import EXIT_FOUND, SettingsError, Unreachable
from bridge.sharding.invalid_checkpoints import mistakes_of

if TYPE_CHECKING:
    from bridge.admin.checkpoints.export import Export

_TOLD = 20
"""Sessions told one by one."""


@takes_settings
def export(
    *,
    given: Given,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Instead of stdout. It is there whole or not at all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of lines.")] = False,
) -> None:
    """Write the position of every session: a header, then one JSON object a line.

    Stop all bridges of the namespace first, where the positions are to be moved: what runs goes on from them. Positions
    that lie in the wrong partition since partitions were added are among them.
    """
    from bridge.admin.checkpoints.export import document, lines  # noqa: PLC0415 - not needed to print help

    topic = CheckpointsTopic.read(given)
    found = _exported(topic)
    if as_json:
        import json  # noqa: PLC0415 - as above

        content = json.dumps(document(found), indent=2).encode() + b"\n"
    else:
        content = b"".join(line + b"\n" for line in lines(found))
    if output is None or output == Path("-"):
        typer.echo(content, nl=False)
    else:
        _write(output, content)
        typer.echo(f"{visible(str(output))}: {counted(found.header.count, 'position')} of {topic.name}", err=True)
    with suppress(Unreachable):  # nobody can tell: what is imported is looked at then
        if members := living(topic.opened):
            they = named(members)
            typer.echo(f"mix-bridge lives: {they}. Positions go on moving: stop it before you import these", err=True)


def _exported(topic: CheckpointsTopic) -> Export:
    from bridge.admin.checkpoints.export import Export, Header, position_of  # noqa: PLC0415 - as above

    if bad := [flaw for flaw in topic.log.invalid if flaw.misplaced is None]:
        raise SettingsError(mistakes_of(topic.name, bad))
    positions = [position_of(stored) for stored in topic.log.stored_checkpoints().values()]
    checkpoints = tuple(one for one in positions if one is not None)
    header = Header(
        namespace=topic.opened.settings.namespace,
        topic=topic.name,
        partitions=topic.partitions,
        exported_at=rfc3339(unix_ms()),
        count=len(checkpoints),
    )
    return Export(header, checkpoints)


def _write(path: Path, content: bytes) -> None:
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            target.write_bytes(content)  # a pipe or a terminal takes no other file's place
            return
        whole = target.with_name(f".{target.name}.{os.getpid()}")
        with whole.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        whole.replace(target)
    except OSError as error:
        raise typer.BadParameter(f"cannot be written: {error.strerror}", param_hint="--output") from None


@takes_settings
def import_(
    *,
    given: Given,
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `export` wrote; - for stdin.")],
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Also over positions that went on since, into another namespace, or beside a live mix-bridge.",
        ),
    ] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Have the sessions of an export go on from there, each in the partition its key has now, in a new epoch.

    The topic is created if it is missing. All of the file is understood before anything is written. Refused, with 1,
    while a mix-bridge of the namespace lives, and when a session went on in this topic since the export.
    """
    found = _understood(file)
    topic = CheckpointsTopic.read(given, create=True)
    if not force:
        _refuse_foreign(found, topic)
        topic.refuse_if_any_lives()
    planned = _planned(found, topic)
    if planned.behind and not force:
        told = [f"  {visible(str(one.key))}" for one in planned.behind[:_TOLD]]
        told += [f"  and {len(planned.behind) - _TOLD} more"] if len(planned.behind) > _TOLD else []
        went_on = f"{counted(len(planned.behind), 'session')} went on in {topic.name} since the export"
        _refuse(f"{went_on} (--force takes them back: what they published since comes again):", *told)
    topic.write(planned.edits)
    if as_json:
        echo_json(_document(found, topic, planned))
    else:
        typer.echo(_said(found, topic, planned))


class _Planned(NamedTuple):
    edits: Sequence[Edit]
    already: int
    """Positions that an import before this one has written."""
    behind: Sequence[Checkpoint]


def _planned(found: Export, topic: CheckpointsTopic) -> _Planned:
    edits, already, behind, now_ms = [], 0, [], unix_ms()
    stored_checkpoints = topic.log.stored_checkpoints()
    for one in found.checkpoints:
        stored = stored_checkpoints.get(one.key.record_key) or topic.log.stored(one.key.record_key)
        if is_imported(one, stored):
            already += 1
            continue
        if is_behind(one, stored):
            behind.append(one)
        edits.append(imported(one, stored, topic.partitions, now_ms))
    return _Planned(edits, already, behind)


def _understood(file: str) -> Export:
    from bridge.admin.checkpoints.export import Damaged, understood  # noqa: PLC0415 - not needed to print help

    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"cannot be read: {error.strerror}", param_hint="FILE") from None
    try:
        return understood(content)
    except Damaged as damaged:
        _refuse(f"{visible(file)} is damaged:", *str(damaged).splitlines())


def _refuse_foreign(found: Export, topic: CheckpointsTopic) -> None:
    own = topic.opened.settings.namespace
    if found.header.namespace != own:
        _refuse(f"the positions are of namespace {visible(found.header.namespace)}, not {own} (--force takes them)")


def _refuse(why: str, *more: str) -> NoReturn:
    typer.echo("\n".join([f"refused, nothing is written: {why}", *more]), err=True)
    raise typer.Exit(EXIT_FOUND)


def _document(found: Export, topic: CheckpointsTopic, planned: _Planned) -> dict[str, Any]:
    return {
        "topic": topic.name,
        "partitions": topic.partitions,
        "imported": len(planned.edits),
        "already_there": planned.already,
        "taken_back": len(planned.behind),
        "from": found.header.model_dump(),
    }


def _said(found: Export, topic: CheckpointsTopic, planned: _Planned) -> str:
    header, shards = found.header, Counter(edit.writes[0].partition for edit in planned.edits)
    source = f"exported {visible(header.exported_at)} from {visible(header.topic)}"
    source += f", {counted(header.partitions, 'partition')}"
    told = [f"{counted(planned.already, 'position')} were there already"] if planned.already else []
    if planned.edits:
        where = f"{len(shards)} of {counted(topic.partitions, 'partition')}"
        told.insert(0, f"{counted(len(planned.edits), 'position')} written to {where}, acknowledged")
    return f"{topic.name}: {'; '.join(told) or 'no position to write'} ({source})"
