"""``mix-bridge check``: whether a start would find all it needs."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.options import Given, takes_settings
from bridge.core.terminal_text import visible
from bridge.errors import EXIT_FOUND, EXIT_OK

if TYPE_CHECKING:
    from bridge.admin.check.lines import Line

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


@takes_settings
def check(
    given: Given,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,  # noqa: FBT002 - a flag is typer's way
    probe: Annotated[
        str | None, typer.Option("--probe", metavar="SESSION", help="Not in this version.", hidden=True)
    ] = None,
) -> None:
    """Look at settings, Kafka, topics, servers and the HTTP port; create and change nothing."""
    if probe is not None:
        raise typer.BadParameter("is not in this version; leave it out", param_hint="--probe")
    settings = given.load(to_run=True).settings
    from bridge.admin.check.checkup import check_all  # noqa: PLC0415 - Kafka's client is slow to import
    from bridge.admin.check.lines import passed  # noqa: PLC0415 - as below
    from bridge.cli.logs import secrets_of, start_logging  # noqa: PLC0415 - as below
    from bridge.daemon.source import Source  # noqa: PLC0415 - as above
    from bridge.observe.logs import Redaction  # noqa: PLC0415 - as above

    start_logging(settings)
    if settings.log.level != "debug":  # what the client meets is in the lines, once and in words
        logging.getLogger("bridge.kafka.librdkafka").setLevel(logging.CRITICAL)
    lines = check_all(settings, [Source(name, settings) for name in settings.servers])
    masked = Redaction(secrets_of(settings))(None, "", _document(lines, ok=passed(lines)))
    if as_json:
        typer.echo(json.dumps(masked, indent=2))
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
