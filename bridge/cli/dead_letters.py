"""``mix-bridge dead-letters`` (``dlq``): what could not be published as it was, and sending it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.kafka_access import JSON_OPTION, Access, access, echo_json
from bridge.cli.options import Given, takes_settings
from bridge.clock import parse_rfc3339, unix_ms
from bridge.core.records.dead_letter import DeadLetterFilter, Number, Place, grouped, parse_reference
from bridge.errors import EXIT_FOUND, EXIT_OK

if TYPE_CHECKING:
    from bridge.admin.dead_letters.replay import Ground
    from bridge.admin.dead_letters.topic import DeadLetters
    from bridge.core.records.rules import Rules
    from bridge.settings import Settings

dead_letters_app = typer.Typer(
    help="Dead letters: what could not be published as it was. List, look, send again.", no_args_is_help=True
)

_NAMES = "ADDRESS|ID"
_NAMES_HELP = "Where it lies, PARTITION:OFFSET, or what it is, EPOCH:SEQUENCE."


def _since(text: str) -> int:
    """Unix milliseconds."""
    from bridge.settings.quantities import parse_duration  # noqa: PLC0415 - slow, and not needed to print help

    try:
        return unix_ms() - round(parse_duration(text) * 1000)
    except ValueError:
        pass
    try:
        return parse_rfc3339(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time: it takes 90s, 30m, 24h, or 2026-01-31T18:00:00Z (with a zone)"
        ) from None


def _name(text: str) -> Place | Number:
    try:
        return parse_reference(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} {error}") from None


_Sessions = Annotated[
    list[str] | None, typer.Option(metavar="SERVER/ID", help="Of this session, or pattern: 'local/*'. Repeatable.")
]
_Reason = Annotated[
    str | None,
    typer.Option(metavar="REASON", help="invalid_json, schema, unknown_event, oversize or rejected."),
]
_Type = Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Of this event type, or pattern: 'tool_*'.")]
_Since = Annotated[
    int | None,
    typer.Option(metavar="TIME", parser=_since, help="Received since: 24h ago, or 2026-01-31T18:00:00Z."),
]
_Json = Annotated[bool, JSON_OPTION]


def _wanted(
    session: list[str] | None, reason: str | None, event: str | None, since: int | None, names: list[Any] | None = None
) -> DeadLetterFilter:
    places = frozenset(name for name in names or () if isinstance(name, Place))
    numbers = frozenset(name for name in names or () if isinstance(name, Number))
    return DeadLetterFilter(tuple(session or ()), reason, event, since, places, numbers)


def _letters(given: Given, wanted: DeadLetterFilter) -> tuple[Access, DeadLetters]:
    opened = access(given)
    from bridge.admin.dead_letters.topic import DeadLetters  # noqa: PLC0415 - Kafka's client is slow to import

    return opened, DeadLetters(opened.config, opened.settings.topics.dead_letters, wanted)


@dead_letters_app.command("list")
@takes_settings
def list_(  # noqa: PLR0913 - its options, each by name
    *,
    given: Given,
    session: _Sessions = None,
    reason: _Reason = None,
    type_: _Type = None,
    since: _Since = None,
    each: Annotated[
        bool, typer.Option("--each", help="One line for each dead letter, with its address and id.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """How many there are, by session, reason and event type."""
    from bridge.admin.dead_letters import text as texts  # noqa: PLC0415 - not needed to print help

    _, letters = _letters(given, _wanted(session, reason, type_, since))
    if each:
        found = sorted((letter.without_data() for _, letter in letters), key=lambda one: (one.key, one.place))
        document, lines = texts.each_document(letters, found), texts.each_lines(letters, found)
    else:
        groups = grouped(letter for _, letter in letters)
        document, lines = texts.groups_document(letters, groups), texts.group_lines(letters, groups)
    if as_json:
        echo_json(document)
    else:
        typer.echo("\n".join(lines))


@dead_letters_app.command()
@takes_settings
def show(
    *,
    given: Given,
    names: Annotated[list[Any], typer.Argument(metavar=_NAMES, parser=_name, help=_NAMES_HELP)],
    session: _Sessions = None,
    full: Annotated[bool, typer.Option("--full", help="The whole payload, however long.")] = False,
    as_json: _Json = False,
) -> None:
    """Headers and payload of some of them, safe for a terminal. With --json the payload is exact."""
    from bridge.admin.dead_letters import text as texts  # noqa: PLC0415 - not needed to print help

    _, letters = _letters(given, _wanted(session, None, None, None, names))
    found = list(letters)
    missing = texts.not_among(names, [letter for _, letter in found])
    if as_json:
        echo_json(texts.shown_document(letters, found, missing))
    else:
        for record, letter in found:
            typer.echo("\n".join(texts.shown_lines(record, letter, full=full)))
        for name in missing:
            typer.echo(texts.no_such(letters, name), err=True)
    raise typer.Exit(EXIT_FOUND if missing else EXIT_OK)


@dead_letters_app.command()
@takes_settings
def replay(  # noqa: PLR0913 - its options, each by name
    *,
    given: Given,
    names: Annotated[
        list[Any] | None, typer.Argument(metavar=_NAMES, parser=_name, help=f"{_NAMES_HELP} None: all.")
    ] = None,
    session: _Sessions = None,
    reason: _Reason = None,
    type_: _Type = None,
    since: _Since = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and send nothing.")] = False,
    as_json: _Json = False,
) -> None:
    """Send them through today's rules, with their key, number and time, marked `replayed`.

    What the rules still refuse stays where it is. What a replay has sent before is not sent again: the events topics
    are looked through for it. One replay at a time. Exit code 1 if any could not be sent.
    """
    from bridge.admin.dead_letters import text as texts  # noqa: PLC0415 - as below
    from bridge.admin.dead_letters.replay import replay as send_all  # noqa: PLC0415 - Kafka's client is slow to import
    from bridge.kafka.record_sender import RecordSender  # noqa: PLC0415 - as above

    opened, letters = _letters(given, _wanted(session, reason, type_, since, names))
    ground, limit = _ground(opened)
    report = send_all(letters, ground, None if dry_run else RecordSender(opened.config, limit))
    if as_json:
        echo_json(texts.replayed_document(letters, report, dry_run=dry_run))
    else:
        typer.echo("\n".join(texts.replayed_lines(letters, report, dry_run=dry_run)))
    if report.trouble is not None:
        raise report.trouble
    raise typer.Exit(EXIT_OK if report.is_good else EXIT_FOUND)


def _ground(opened: Access) -> tuple[Ground, int]:
    """What a replay goes by, and the largest request that every topic takes."""
    from bridge.admin.dead_letters.replay import Ground  # noqa: PLC0415 - as below
    from bridge.kafka.topic_admin import TopicAdmin  # noqa: PLC0415 - as below
    from bridge.kafka.topics import plan  # noqa: PLC0415 - Kafka's client is slow to import

    topics = opened.settings.topics
    wanted = {topics.events, *(route.topic for route in topics.routes)}
    found = TopicAdmin(opened.config).existing([each for each in plan(opened.settings) if each.name in wanted])
    limit = min((each.max_message_bytes for each in found.values()), default=opened.settings.events.max_bytes)
    return Ground(_rules(opened.settings), frozenset(found)), limit


def _rules(settings: Settings) -> dict[str, Rules]:
    from bridge.mix.rules import rules_of  # noqa: PLC0415 - slow, and not needed to print help

    return {name: rules_of(name, settings) for name in settings.servers}
