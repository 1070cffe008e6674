"""``mix-bridge verify``: whether every number of every session is in Kafka."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.kafka_access import JSON_OPTION, access, echo_json
from bridge.cli.options import Given, takes_settings
from bridge.clock import parse_rfc3339, unix_ms
from bridge.errors import EXIT_FOUND, EXIT_OK

if TYPE_CHECKING:
    from bridge.admin.verify.audit import Progress


def _session(text: str) -> str:
    server, slash, session_id = text.partition("/")
    if not (server and slash and session_id):
        raise typer.BadParameter(f"{text!r} is no session: it takes SERVER/ID, as records have it for their key")
    return text


def _since(text: str) -> int:
    from bridge.settings.quantities import parse_duration  # noqa: PLC0415 - slow, and not needed to print help

    now = unix_ms()
    try:
        moment = now - round(parse_duration(text) * 1000)
    except ValueError:
        moment = _time(text)
    if not 0 <= moment < now:
        raise typer.BadParameter(f"{text!r} is not in the past")
    return moment


def _time(text: str) -> int:
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is neither a duration such as 24h nor a time with its offset such as 2026-01-31T12:00:00Z"
        ) from error


@takes_settings
def verify(
    given: Given,
    session: Annotated[
        list[str] | None,
        typer.Option(metavar="SERVER/ID", parser=_session, help="Look at this session alone. Repeatable."),
    ] = None,
    since: Annotated[
        int | None,
        typer.Option(
            metavar="TIME", parser=_since, help="Leave out what is older: 24h, or a time such as 2026-01-31T12:00:00Z."
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="A line for every session, the complete ones too.")] = False,  # noqa: FBT002 - a flag is typer's way
    as_json: Annotated[bool, JSON_OPTION] = False,  # noqa: FBT002 - as above
) -> None:
    """Read the topics and say of each session whether its numbers are complete; 1 if anything is lost.

    Reads events, dead letters, lifecycle and positions to the ends they have now; changes nothing.
    """
    settings = access(given).settings
    from bridge.admin.verify.audit import audit  # noqa: PLC0415 - Kafka's client is slow to import
    from bridge.admin.verify.report import Report  # noqa: PLC0415 - as below

    only = frozenset(key.encode() for key in session) if session else None
    with _progress() as progress:
        report = Report.of(audit(settings, only, since, progress), settings)
    if as_json:
        echo_json(report.document())
    else:
        report.print(every=every)
    raise typer.Exit(EXIT_OK if report.is_good else EXIT_FOUND)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on a terminal, and nothing elsewhere."""
    from rich.console import Console  # noqa: PLC0415 - slow, and not needed to print help
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    console = Console(file=sys.stderr)
    columns = (TextColumn("reading {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks = {}

        def show(what: str, passed: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=passed)

        yield show
