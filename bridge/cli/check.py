"""``mix-bridge check``: whether a start would succeed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.options import JsonFlag, SettingsOptions, accepts_settings
from bridge.cli.output import print_json
from bridge.core.terminal_text import visible
from bridge.errors import EXIT_FOUND, EXIT_OK

if TYPE_CHECKING:
    from bridge.admin.check.lines import Line

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


@accepts_settings
def check(
    options: SettingsOptions,
    as_json: JsonFlag = False,
    probe: Annotated[
        str | None, typer.Option("--probe", metavar="SESSION", help="Not in this version.", hidden=True)
    ] = None,
) -> None:
    """Check settings, Kafka, topics, servers and the HTTP port.

    One line for each check, with a hint for each failure. The command creates and changes nothing.
    """
    if probe is not None:
        raise typer.BadParameter("is not in this version; leave it out", param_hint="--probe")
    settings = options.load(to_run=True).settings
    from bridge.admin.check.checkup import MixServer, check_all
    from bridge.admin.check.lines import passed
    from bridge.cli.logs import secrets_of, start_command_logging
    from bridge.daemon.source import Source
    from bridge.observe.logs import Redaction

    start_command_logging(settings)
    sources = (Source(name, settings) for name in settings.servers)
    servers = [MixServer(each.name, each.settings, each.tls, each.headers, each.api) for each in sources]
    lines = check_all(settings, servers)
    masked = Redaction(secrets_of(settings))(None, "", _document(lines, ok=passed(lines)))
    if as_json:
        print_json(dict(masked))
    else:
        for line in masked["checks"]:
            typer.echo(_printed(line), color=False if "NO_COLOR" in os.environ else None)
    raise typer.Exit(EXIT_OK if passed(lines) else EXIT_FOUND)


def _document(lines: Sequence[Line], *, ok: bool) -> dict[str, Any]:
    return {"ok": ok, "checks": [asdict(line) for line in lines]}


def _printed(line: dict[str, str | None]) -> str:
    state = str(line["state"])
    text = f"{line['subject']}: {line['detail']}" + (f" - {line['hint']}" if line["hint"] else "")
    return typer.style(f"{state:<8}", fg=_COLOURS[state]) + visible(text)
