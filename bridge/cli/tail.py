"""``mix-bridge tail``: prints records from Kafka as they arrive."""

from __future__ import annotations

import os
import signal
import sys
from enum import Enum
from types import FrameType
from typing import Annotated

import typer

from bridge.cli import exit_if_unread
from bridge.cli.command import SettingsOptions, TypeOption, for_option, session_parser, since_option
from bridge.errors import EXIT_OK


class Role(Enum):
    """What to print."""

    EVENTS = "events"
    DEAD_LETTERS = "dead-letters"
    LIFECYCLE = "lifecycle"
    ALL = "all"


class Format(Enum):
    """How to print it."""

    TEXT = "text"
    JSON = "json"
    RAW = "raw"


def tail(
    *,
    options: SettingsOptions,
    sessions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SERVER/ID",
            parser=session_parser("SERVER/ID, ID, or a pattern such as 'local/*'", bool),
            help="Only these sessions, or patterns: 'local/*'. Default: all.",
            show_default=False,
        ),
    ] = None,
    type_: TypeOption = None,
    topic: Annotated[Role, typer.Option(help="Which topics. Those of routes belong to the events.")] = Role.EVENTS,
    since: Annotated[int | None, since_option("Begin there: 10m, or 2026-01-31T12:00:00Z.")] = None,
    last: Annotated[int | None, typer.Option(min=0, help="Begin with the newest N records.")] = None,
    grep: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only records with this text in their data or error.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after N records.")] = None,
    seconds: Annotated[float | None, for_option("End after this time: 30s or 2m.")] = None,
    format_: Annotated[Format, typer.Option("--format", help="Lines, JSON Lines, or the values of the records.")] = (
        Format.TEXT
    ),
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    no_follow: Annotated[
        bool, typer.Option("--no-follow", help="Print what is stored, without waiting for more.")
    ] = False,
) -> None:
    """Print events, dead letters or lifecycle records as they arrive.

    The command reads Kafka, not the daemon: committed records only, without a consumer group. It follows the rule for
    consumers, so a repeat is not printed. Without --since and --last it begins with the next record, with --no-follow
    with the first one.
    """
    if since is not None and last is not None:
        raise typer.BadParameter("it cannot be used together with --since", param_hint="--last")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    access = options.open_kafka("mix-bridge-tail")
    from bridge.admin.tail.lines import TailFilter
    from bridge.admin.tail.output import JsonOutput, Output, RawOutput, TextOutput, is_reader_gone
    from bridge.admin.tail.tail import Tail, TailRequest, topics_of
    from bridge.admin.text import counted

    request = TailRequest(
        topics=topics_of(access.settings, topic.value),
        selection=TailFilter(tuple(sessions or ()), type_, grep),
        since_ms=since,
        last=last,
        follow=not no_follow,
        count=count,
        seconds=seconds,
    )
    output: Output = TextOutput(sys.stdout, colours="NO_COLOR" not in os.environ, is_live=request.follow)
    if as_json or format_ is Format.JSON:
        output = JsonOutput(sys.stdout)
    elif format_ is Format.RAW:
        output = RawOutput(sys.stdout)
    run = Tail(access, request, output, _note, lambda: is_reader_gone(sys.stdout))
    try:
        try:
            run.run()
        except KeyboardInterrupt:
            run.finish()
        if run.foreign:
            records = counted(run.foreign, "record")
            _note(f"skipped {records} that the bridge did not write, or another version of it")
        if run.repeats:
            _note(f"dropped {counted(run.repeats, 'repeat')}")
        if not run.shown:
            _note("no record matched")
    except BrokenPipeError:
        # Python flushes stdout once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stop(number: int, frame: FrameType | None) -> None:
    exit_if_unread(EXIT_OK, lambda: False)
    signal.default_int_handler(number, frame)


def _note(text: str) -> None:
    sys.stderr.write(f"— {text}\n")
    sys.stderr.flush()
