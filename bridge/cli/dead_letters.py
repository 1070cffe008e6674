"""``mix-bridge dead-letters`` (``dlq``): lists, shows and replays dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from bridge.cli.command import (
    JsonFlag,
    SettingsOptions,
    TypeOption,
    command,
    print_all,
    print_json,
    session_parser,
    since_option,
)
from bridge.cli.help import WITH_KAFKA, group
from bridge.core.records.record import Reason
from bridge.errors import EXIT_FOUND, EXIT_OK

if TYPE_CHECKING:
    from bridge.admin.dead_letters.topic import DeadLetters
    from bridge.admin.kafka_access import KafkaAccess
    from bridge.core.records.dead_letter import Place
    from bridge.core.records.numbers import EventSequence

dead_letters_app = group("List, show and replay dead letters.")

_REASONS: tuple[str, ...] = get_args(Reason)
_NAMES = "ADDRESS|ID"
_NAMES_HELP = "An address, PARTITION:OFFSET, or an id, EPOCH:NUMBER."


def _name(text: str) -> Place | EventSequence:
    from bridge.admin.dead_letters.topic import parse_reference

    try:
        return parse_reference(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} {error}") from None


def _reason(text: str) -> str:
    if text not in _REASONS:
        raise typer.BadParameter(f"{text!r} is no reason; allowed: {', '.join(_REASONS)}")
    return text


_Sessions = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SERVER/ID",
        parser=session_parser("SERVER/ID, or a pattern such as 'local/*'", lambda text: bool(set(text) & set("*?["))),
        help="Only this session, or a pattern: 'local/*'. Repeatable.",
    ),
]
_Reason = Annotated[
    str | None,
    typer.Option(
        metavar="REASON",
        parser=_reason,
        help=f"Only this one: {', '.join(_REASONS[:-1])} or {_REASONS[-1]}.",
    ),
]
_Since = Annotated[int | None, since_option("Only those received since: 24h, or 2026-01-31T18:00:00Z.")]


def _select(
    options: SettingsOptions,
    session: list[str] | None,
    names: list[Any] | None = None,
    **conditions: Any,  # noqa: ANN401 - of the filter
) -> tuple[KafkaAccess, DeadLetters]:
    access = options.open_kafka()
    from bridge.admin.dead_letters.topic import DeadLetterFilter, DeadLetters
    from bridge.core.records.dead_letter import Place
    from bridge.core.records.numbers import EventSequence

    places = frozenset(name for name in names or () if isinstance(name, Place))
    numbers = frozenset(name for name in names or () if isinstance(name, EventSequence))
    selection = DeadLetterFilter(tuple(session or ()), places=places, numbers=numbers, **conditions)
    return access, DeadLetters(access.config, access.settings.topics.dead_letters, selection)


@command(dead_letters_app, "mix-bridge dead-letters list --reason schema --since 24h", more=WITH_KAFKA, name="list")
def list_(
    *,
    options: SettingsOptions,
    session: _Sessions = None,
    reason: _Reason = None,
    type_: TypeOption = None,
    since: _Since = None,
    each: Annotated[
        bool, typer.Option("--each", help="One row for each dead letter, with its address and id.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Count dead letters by session, reason and event type."""
    _, letters = _select(options, session, reason=reason, event=type_, since_ms=since)
    from bridge.admin.dead_letters import text as texts
    from bridge.admin.dead_letters.topic import grouped

    if each:
        found = sorted((letter.without_data() for _, letter in letters), key=lambda one: (one.key, one.place))
        document, parts = texts.each_document(letters, found), texts.each_parts(letters, found)
    else:
        groups = grouped(letter for _, letter in letters)
        document, parts = texts.groups_document(letters, groups), texts.group_parts(letters, groups)
    if as_json:
        print_json(document)
    else:
        print_all(parts)


@command(
    dead_letters_app,
    "mix-bridge dead-letters show 3:120",
    codes={EXIT_FOUND: "one of them does not exist"},
    more=WITH_KAFKA,
)
def show(
    *,
    options: SettingsOptions,
    names: Annotated[list[Any], typer.Argument(metavar=_NAMES, parser=_name, help=_NAMES_HELP)],
    session: _Sessions = None,
    full: Annotated[bool, typer.Option("--full", help="Print the whole payload.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Print headers and payload of dead letters.

    Control characters are printed as escapes. With --json the payload is exact.
    """
    _, letters = _select(options, session, names=names)
    from bridge.admin.dead_letters import text as texts

    found = list(letters)
    missing = [name for name in names if name not in letters.named]
    if as_json:
        print_json(texts.shown_document(letters, found, missing))
    else:
        for record, letter in found:
            typer.echo("\n".join(texts.shown_lines(record, letter, full=full)))
        for name in missing:
            typer.echo(texts.missing_line(letters, name), err=True)
    raise typer.Exit(EXIT_FOUND if missing else EXIT_OK)


@command(
    dead_letters_app,
    "mix-bridge dead-letters replay --dry-run --reason schema --set events.invalid=publish",
    codes={
        EXIT_OK: "all of them are in the topics of events",
        EXIT_FOUND: "some could not be sent, or do not exist",
    },
    more=WITH_KAFKA,
)
def replay(
    *,
    options: SettingsOptions,
    names: Annotated[
        list[Any] | None,
        typer.Argument(metavar=_NAMES, parser=_name, help=f"{_NAMES_HELP} Default: all.", show_default=False),
    ] = None,
    session: _Sessions = None,
    reason: _Reason = None,
    type_: TypeOption = None,
    since: _Since = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be sent, and send nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Send dead letters again, under today's rules.

    The records keep their key, number and time, and are marked `replayed`. An event that the rules still refuse remains
    a dead letter. What an earlier replay has sent is not sent again: the command looks for it in the topics of events.
    Run one replay at a time.
    """
    access, letters = _select(options, session, reason=reason, event=type_, since_ms=since, names=names)
    from bridge.admin.dead_letters import text as texts
    from bridge.admin.dead_letters.replay import Target
    from bridge.admin.dead_letters.replay import replay as send_all
    from bridge.kafka.record_sender import RecordSender

    target = Target.of(access)
    report = send_all(letters, target, None if dry_run else RecordSender(access.config, target.max_message_bytes))
    missing = [] if report.error else [name for name in names or () if name not in letters.named]
    if as_json:
        print_json(texts.replayed_document(letters, report, missing, dry_run=dry_run))
    else:
        typer.echo("\n".join(texts.replayed_lines(letters, report, dry_run=dry_run)))
        for name in missing:
            typer.echo(texts.missing_line(letters, name), err=True)
    if report.error is not None:
        raise report.error
    raise typer.Exit(EXIT_OK if report.is_good and not missing else EXIT_FOUND)
