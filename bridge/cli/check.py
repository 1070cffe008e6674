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
    from bridge.admin.check.line import Line
    from bridge.admin.check.parts import Part
    from bridge.settings import Loaded

_PARTS = "settings, files, kafka, topics, group, transactions, servers, http"
_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


@accepts_settings
def check(
    options: SettingsOptions,
    *,
    as_json: JsonFlag = False,
    offline: Annotated[bool, typer.Option("--offline", help="Settings and files only: open no connection.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as failures.")] = False,
    only: Annotated[str | None, typer.Option(metavar="PART,...", help=f"Check only these: {_PARTS}.")] = None,
    probe: Annotated[
        str | None, typer.Option("--probe", metavar="SESSION", help="Not in this version.", hidden=True)
    ] = None,
) -> None:
    """Check settings, Kafka, topics, servers and the HTTP port.

    One line for each check, with a hint for each failure. The command creates and changes nothing.
    """
    if probe is not None:
        raise typer.BadParameter("is not in this version; leave it out", param_hint="--probe")
    parts = _parts(only, offline=offline)
    loaded = options.load(to_run=True)
    from bridge.admin.check.line import passed
    from bridge.admin.check.parts import is_wanted
    from bridge.cli.logs import secrets_of, start_command_logging
    from bridge.observe.logs import Redaction

    start_command_logging(loaded.settings)
    lines = [line for line in _lines(loaded, parts, offline=offline) if is_wanted(line, parts)]
    ok = passed(lines, strict=strict)
    masked = Redaction(secrets_of(loaded.settings))(None, "", _document(lines, ok=ok))
    if as_json:
        print_json(dict(masked))
    else:
        for line in masked["checks"]:
            typer.echo(_printed(line), color=False if "NO_COLOR" in os.environ else None)
    raise typer.Exit(EXIT_OK if ok else EXIT_FOUND)


def _parts(only: str | None, *, offline: bool) -> frozenset[Part]:
    from bridge.admin.check import parts

    try:
        found = parts.ALL if only is None else parts.chosen(only)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--only") from error
    if offline and only is not None and (connecting := sorted(found - parts.OFFLINE)):
        text = f"{', '.join(connecting)} cannot be checked with --offline; allowed: {', '.join(sorted(parts.OFFLINE))}"
        raise typer.BadParameter(text, param_hint="--only")
    return found


def _lines(loaded: Loaded, parts: frozenset[Part], *, offline: bool) -> Sequence[Line]:
    if offline:
        from bridge.admin.check.offline import check_offline

        return check_offline(loaded)
    from bridge.admin.check.checkup import MixServer, check_all
    from bridge.daemon.source import Source

    sources = [Source(name, loaded.settings) for name in loaded.settings.servers]
    servers = [MixServer(each.name, each.settings, each.tls, each.headers, each.api) for each in sources]
    return check_all(loaded, servers, parts)


def _document(lines: Sequence[Line], *, ok: bool) -> dict[str, Any]:
    return {"ok": ok, "checks": [asdict(line) for line in lines]}


def _printed(line: dict[str, str | None]) -> str:
    state = str(line["state"])
    text = f"{line['subject']}: {line['detail']}" + (f" - {line['hint']}" if line["hint"] else "")
    return typer.style(f"{state:<8}", fg=_COLOURS[state]) + visible(text)
