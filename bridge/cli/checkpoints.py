"""``mix-bridge checkpoints``: how far each session has come, and having it go on elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Literal

import typer

from bridge.admin.checkpoints.access import CheckpointsTopic
from bridge.admin.checkpoints.edit import Change, Edit, forgotten, moved, removed
from bridge.cli.kafka_access import JSON_OPTION, echo_json
from bridge.cli.options import Given, takes_settings
from bridge.clock import unix_ms
from bridge.core.checkpoint_log import StoredCheckpoint
from bridge.core.identity import LONGEST_ID, SessionKey, partition_of, sendable
from bridge.core.terminal_text import visible
from bridge.errors import EXIT_FOUND, EXIT_OK
from bridge.sharding.invalid_checkpoints import session_of

checkpoints_app = typer.Typer(
    name="checkpoints",
    help="Positions: how far each session has come. List, look, have a session go on elsewhere.",
    no_args_is_help=True,
)

_Session = Annotated[str, typer.Argument(metavar="SERVER/SESSION")]
_Json = Annotated[bool, JSON_OPTION]
_Force = Annotated[
    bool,
    typer.Option("--force", help="Also while a live mix-bridge owns the shard: it notices, and goes on from there."),
]


class Show(StrEnum):
    """What `list` can be narrowed to."""

    ACTIVE = "active"
    ENDED = "ended"
    BAD = "bad"


@checkpoints_app.command("list")
@takes_settings
def list_(
    *,
    given: Given,
    session: Annotated[
        list[str] | None,
        typer.Argument(metavar="SERVER/SESSION", help="These, or patterns: 'local/*'. None: all.", show_default=False),
    ] = None,
    state: Annotated[Show | None, typer.Option(help="Only these.")] = None,
    as_json: _Json = False,
) -> None:
    """How far each session has come, and checkpoints that the daemon would refuse."""
    from bridge.admin.checkpoints import text as texts  # noqa: PLC0415 - not needed to print help

    topic = CheckpointsTopic.read(given)
    found = [one for one in topic.log.stored_checkpoints().values() if _is_wanted(one, session, state)]
    if as_json:
        echo_json(texts.list_document(topic.name, found, unix_ms()))
    else:
        typer.echo("\n".join(texts.list_lines(topic.name, found, unix_ms())))


def _is_wanted(stored: StoredCheckpoint, sessions: Sequence[str] | None, state: Show | None) -> bool:
    name = stored.key.decode("utf-8", "replace")
    named = not sessions or any(name == each or fnmatchcase(name, each) for each in sessions)
    if state is Show.BAD:
        return named and bool(stored.invalid)
    return named and (state is None or (stored.valid is not None and stored.valid.state == state.value))


@checkpoints_app.command()
@takes_settings
def show(*, given: Given, session: _Session, as_json: _Json = False) -> None:
    """All of one checkpoint, also of one that the daemon would refuse."""
    from bridge.admin.checkpoints import text as texts  # noqa: PLC0415 - not needed to print help

    topic = CheckpointsTopic.read(given)
    stored = topic.log.stored(os.fsencode(session))
    if as_json:
        echo_json(texts.shown_document(topic.name, stored, unix_ms()))
    elif stored.records:
        typer.echo("\n".join(texts.shown_lines(topic.name, stored, unix_ms())))
    else:
        typer.echo(f"{topic.name} has no checkpoint of {visible(session)}", err=True)
    raise typer.Exit(EXIT_OK if stored.records else EXIT_FOUND)


@checkpoints_app.command("set")
@takes_settings
def set_(  # noqa: PLR0913 - its options, each by name
    *,
    given: Given,
    session: Annotated[str | None, typer.Argument(metavar="SERVER/SESSION", show_default=False)] = None,
    last_event_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Go on after this event; '' for what comes from now on.", show_default=False),
    ] = None,
    misplaced: Annotated[
        bool,
        typer.Option(
            "--misplaced",
            help="Instead: put every checkpoint that lies in another partition than its key's where it belongs.",
        ),
    ] = False,
    force: _Force = False,
    as_json: _Json = False,
) -> None:
    """Have a session go on after an event id, in a new epoch.

    Nothing is hidden from consumers: events that were published already come again, with new numbers. Refused, with 1,
    while a live mix-bridge owns the session's shard.
    """
    if misplaced == (session is not None) or (last_event_id is None) == (session is not None):
        raise typer.BadParameter("it takes SERVER/SESSION and --last-event-id ID, or --misplaced alone")
    if session is None or last_event_id is None:
        _change(given, _misplaced, force=force, as_json=as_json)
        return
    key, event_id = _session_key(os.fsencode(session)), last_event_id
    _refuse_unsendable(event_id)

    def plan(topic: CheckpointsTopic) -> list[Edit]:
        return [_moved(topic, topic.log.stored(key.record_key), key, event_id, "active")]

    _change(given, plan, force=force, as_json=as_json)


def _refuse_unsendable(event_id: str) -> None:
    is_utf8 = not any("\ud800" <= character <= "\udfff" for character in event_id)
    if not (is_utf8 and sendable(event_id) and len(event_id) <= LONGEST_ID):
        raise typer.BadParameter(
            "an HTTP header cannot carry it (control characters, a blank at either end, or too long)",
            param_hint="--last-event-id",
        )


@checkpoints_app.command()
@takes_settings
def reset(  # noqa: PLR0913 - its options, each by name
    *,
    given: Given,
    session: Annotated[str | None, typer.Argument(metavar="SERVER/SESSION", show_default=False)] = None,
    key_hex: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="Instead of SERVER/SESSION: the record's key, byte for byte."),
    ] = None,
    partition: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Only remove the record with that key from this partition."),
    ] = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Remove all that stands about it, the memory of its epoch too.")
    ] = False,
    force: _Force = False,
    as_json: _Json = False,
) -> None:
    """Have a session begin anew, at its server's start_after_id, in a new epoch.

    Works on checkpoints that the daemon refuses as well. Nothing is hidden from consumers: what the server still has
    comes again, with new numbers. Refused, with 1, while a live mix-bridge owns the session's shard.
    """
    if (session is None) == (key_hex is None) or (forget and partition is not None):
        raise typer.BadParameter("it takes SERVER/SESSION, and --partition N or --forget or neither")
    key = os.fsencode(session) if session is not None else _unhexed(key_hex or "")
    if partition is not None:
        number = partition
        _change(given, lambda topic: [_removed(topic, key, number)], force=force, as_json=as_json)
    elif forget:
        _change(given, lambda topic: [forgotten(_something(topic, key))], force=force, as_json=as_json)
    else:
        _change(given, lambda topic: [_reset(topic, key)], force=force, as_json=as_json)


def _unhexed(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise typer.BadParameter("it takes pairs of hex digits", param_hint="--key-hex") from None


def _session_key(key: bytes) -> SessionKey:
    session = session_of(key)
    if session is None:
        raise typer.BadParameter(
            f"{visible(key.decode('utf-8', 'backslashreplace'))!r} is no server/session (a record with such a key is"
            " removed with --partition N)"
        )
    return session


def _something(topic: CheckpointsTopic, key: bytes) -> StoredCheckpoint:
    stored = topic.log.stored(key)
    if not stored.records:
        name = visible(key.decode("utf-8", "backslashreplace"))
        typer.echo(f"{topic.name} has no checkpoint of {name}: nothing to change", err=True)
        raise typer.Exit(EXIT_FOUND)
    return stored


def _reset(topic: CheckpointsTopic, key: bytes) -> Edit:
    session = _session_key(key)
    servers = topic.opened.settings.servers
    if session.server in servers:
        start = servers[session.server].start_after_id
    else:
        from bridge.settings import ServerSettings  # noqa: PLC0415 - slow, and not needed to print help

        start = ServerSettings.model_fields["start_after_id"].default
        typer.echo(
            f"the settings have no server {session.server}: taking the default start_after_id {start!r}", err=True
        )
    return _moved(topic, _something(topic, key), session, start, "active")


def _misplaced(topic: CheckpointsTopic) -> list[Edit]:
    edits = []
    for stored in topic.log.stored_checkpoints().values():
        furthest = stored.furthest
        if furthest is not None and any(flaw.misplaced is not None for flaw in stored.invalid):
            event_id = furthest.position.last_event_id
            edits.append(_moved(topic, stored, furthest.key, event_id, furthest.state))
    return edits


def _moved(
    topic: CheckpointsTopic,
    stored: StoredCheckpoint,
    session: SessionKey,
    event_id: str,
    state: Literal["active", "ended"],
) -> Edit:
    return moved(session, stored, topic.partitions, Change(event_id, state, _fingerprint(topic, session), unix_ms()))


def _fingerprint(topic: CheckpointsTopic, session: SessionKey) -> str:
    """Of today's settings: nothing is numbered yet in a new epoch. Without the server in them, none: one epoch more."""
    from bridge.mix.rules import rules_of  # noqa: PLC0415 - slow, and not needed to print help

    settings = topic.opened.settings
    return rules_of(session.server, settings).fingerprint() if session.server in settings.servers else ""


def _removed(topic: CheckpointsTopic, key: bytes, partition: int) -> Edit:
    stored = topic.log.stored(key)
    if partition not in {record.partition for record in stored.records}:
        typer.echo(f"{topic.name} partition {partition} has no record with that key: nothing to change", err=True)
        raise typer.Exit(EXIT_FOUND)
    if session_of(key) is not None and partition == partition_of(key, topic.partitions):
        raise typer.BadParameter("this is a session's own partition: leave --partition out, or say --forget instead")
    return removed(key, partition)


def _change(given: Given, plan: Callable[[CheckpointsTopic], list[Edit]], *, force: bool, as_json: bool) -> None:
    """Decide, write, and say what was and what is."""
    from bridge.admin.checkpoints import text as texts  # noqa: PLC0415 - not needed to print help

    topic = CheckpointsTopic.read(given)
    edits = plan(topic)
    if edits and not force:
        topic.refuse_if_owned(write.partition for edit in edits for write in edit.writes)
    topic.write(edits)
    changes = [(topic.log.stored(edit.key), edit) for edit in edits]
    if as_json:
        echo_json(texts.changed_document(topic.name, changes))
    else:
        typer.echo("\n".join(texts.changed_lines(topic.name, changes)))
