"""``mix-bridge checkpoints export`` and ``import``: moves positions to another topic."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli.command import JsonFlag, SettingsOptions, print_json
from bridge.errors import Unreachable


def export(
    *,
    options: SettingsOptions,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write to this file, completely or not at all; default: stdout.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON document instead of lines.")] = False,
) -> None:
    """Write the positions of all sessions to a file.

    The file has a header line, then one JSON object per line. Positions in a wrong partition, after partitions were
    added, are exported too. To move the positions, stop all bridges of the namespace first.
    """
    from bridge.admin.checkpoints.topic import CheckpointsTopic, named, running
    from bridge.admin.checkpoints.transfer import document, exported, lines
    from bridge.admin.text import counted
    from bridge.core.terminal_text import visible

    topic = CheckpointsTopic.read(options.open_kafka())
    found = exported(topic)
    if as_json:
        content = json.dumps(document(found), indent=2).encode() + b"\n"
    else:
        content = b"".join(line + b"\n" for line in lines(found))
    if output is None or output == Path("-"):
        typer.echo(content, nl=False)
    else:
        _write(output, content)
        typer.echo(f"{visible(str(output))}: {counted(found.header.count, 'position')} of {topic.name}", err=True)
    with suppress(Unreachable):  # `import` checks it again
        if members := running(topic.access):
            warning = "Its positions change: stop it before you import this file"
            typer.echo(f"mix-bridge is running: {named(members)}. {warning}", err=True)


def _write(path: Path, content: bytes) -> None:
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            target.write_bytes(content)  # a pipe or a terminal must not be replaced
            return
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise typer.BadParameter(f"cannot be written: {error.strerror}", param_hint="--output") from None


def import_(
    *,
    options: SettingsOptions,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file that `export` wrote; - for stdin.")],
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Import also over newer positions, into another namespace, or while a mix-bridge is running.",
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Resume all sessions of an export from its positions.

    Each position is written to the partition that its key has now, in a new epoch. The topic is created if it is
    missing. Nothing is written before the whole file is read.
    """
    from bridge.admin.checkpoints.edit import REFUSED, Refused
    from bridge.admin.checkpoints.topic import CheckpointsTopic
    from bridge.admin.checkpoints.transfer import Import, InvalidExport, parse, refuse_foreign
    from bridge.core.terminal_text import visible

    try:
        found = parse(sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes())
    except OSError as error:
        raise typer.BadParameter(f"cannot be read: {error.strerror}", param_hint="FILE") from None
    except InvalidExport as errors:
        raise Refused(f"{REFUSED} {visible(file)} is not a valid export:\n{errors}") from errors
    topic = CheckpointsTopic.read(options.open_kafka(), create=True)
    if not force:
        refuse_foreign(found, topic)
        topic.refuse_if_any_runs()
    planned = Import.plan(found, topic)
    if not force:
        planned.refuse_if_behind(topic)
    topic.write([*planned.of_shards, *planned.edits])
    if as_json:
        print_json(planned.document(found, topic))
    else:
        typer.echo(planned.line(found, topic))
