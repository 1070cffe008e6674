"""``mix-bridge verify``: whether the numbers of every session are complete."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from bridge.cli.command import JsonFlag, SettingsOptions, print_all, print_json, session_parser, since_option
from bridge.errors import EXIT_FOUND, EXIT_OK


def verify(
    *,
    options: SettingsOptions,
    session: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SERVER/ID",
            parser=session_parser("SERVER/ID, as in the keys of records"),
            help="Check only this session. Repeatable.",
        ),
    ] = None,
    since: Annotated[int | None, since_option("Ignore older records: 24h, or 2026-01-31T12:00:00Z.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Print a row for every session.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check that no number of a session is missing.

    The command reads events, dead letters, lifecycle records and checkpoints up to their present ends. It changes
    nothing, and the daemon may run meanwhile.
    """
    access = options.open_kafka("mix-bridge-verify")
    from bridge.admin.kafka_access import bars
    from bridge.admin.verify.audit import audit
    from bridge.admin.verify.report import Report, parts

    only = frozenset(map(os.fsencode, session)) if session else None
    with bars(after=0.0) as progress:
        report = Report.of(audit(access, only, since, progress), access.settings)
    if as_json:
        print_json(report.document())
    else:
        print_all(parts(report, every=every))
    raise typer.Exit(EXIT_OK if report.is_good else EXIT_FOUND)
