"""``mix-bridge checkpoints``: shows the positions of sessions, and changes them."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.admin.text import matches
from bridge.cli.checkpoints_transfer import export, import_
from bridge.cli.command import JsonFlag, SettingsOptions, command, print_all, print_json
from bridge.cli.help import WITH_KAFKA, group
from bridge.clock import unix_ms
from bridge.core.identity import LONGEST_ID, SessionKey, sendable
from bridge.core.terminal_text import visible, visible_bytes
from bridge.errors import EXIT_FOUND, EXIT_OK

if TYPE_CHECKING:
    from bridge.admin.checkpoints.edit import Edit
    from bridge.admin.checkpoints.topic import CheckpointsTopic

checkpoints_app = group("List, show, change and move the positions of sessions.")

_Session = Annotated[str | None, typer.Argument(metavar="SERVER/SESSION", help="The session.", show_default=False)]
_Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Write also while a running mix-bridge owns the shard: it notices, and continues from there."
    ),
]
_REFUSED = {EXIT_FOUND: "a running mix-bridge owns the shard, or there is nothing to change"}


class Show(StrEnum):
    """The filters of `list --state`."""

    ACTIVE = "active"
    ENDED = "ended"
    BAD = "bad"


@command(checkpoints_app, "mix-bridge checkpoints list 'local/*' --state active", more=WITH_KAFKA, name="list")
def list_(
    *,
    options: SettingsOptions,
    session: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SERVER/SESSION", help="Only these sessions, or patterns: 'local/*'.", show_default=False
        ),
    ] = None,
    state: Annotated[Show | None, typer.Option(help="Only these; bad: those that a start refuses.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """List the position of each session, and invalid checkpoints."""
    from bridge.admin.checkpoints import text as texts

    topic, found = _read(options), []
    for one in topic.log.stored_checkpoints().values():
        name, own = one.key.decode("utf-8", "replace"), None if one.valid is None else one.valid.state
        if session and not any(matches(name, each) for each in session):
            continue
        if state is None or (bool(one.invalid) if state is Show.BAD else own == state.value):
            found.append(one)
    if as_json:
        print_json(texts.list_document(topic.name, found, unix_ms()))
    else:
        print_all(texts.list_parts(topic.name, found, unix_ms()))


def _read(options: SettingsOptions) -> CheckpointsTopic:
    from bridge.admin.checkpoints.topic import CheckpointsTopic

    return CheckpointsTopic.read(options.open_kafka())


@command(
    checkpoints_app,
    "mix-bridge checkpoints show local/abc",
    codes={EXIT_FOUND: "there is no such checkpoint"},
    more=WITH_KAFKA,
)
def show(
    *,
    options: SettingsOptions,
    session: Annotated[str, typer.Argument(metavar="SERVER/SESSION", help="The session.")],
    as_json: JsonFlag = False,
) -> None:
    """Print the stored records of one session, also invalid ones."""
    from bridge.admin.checkpoints import text as texts

    topic = _read(options)
    stored = topic.log.stored(os.fsencode(session))
    if as_json:
        print_json(texts.shown_document(topic.name, stored, unix_ms()))
    elif stored.records:
        typer.echo("\n".join(texts.shown_lines(topic.name, stored, unix_ms())))
    else:
        typer.echo(f"{topic.name} has no checkpoint of {visible(session)}", err=True)
    raise typer.Exit(EXIT_OK if stored.records else EXIT_FOUND)


@command(
    checkpoints_app,
    "mix-bridge checkpoints set local/abc --last-event-id 1234",
    codes=_REFUSED,
    more=WITH_KAFKA,
    name="set",
)
def set_(
    *,
    options: SettingsOptions,
    session: _Session = None,
    last_event_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Resume after this event; '': with the events from now on.", show_default=False
        ),
    ] = None,
    misplaced: Annotated[
        bool,
        typer.Option("--misplaced", help="Instead: move every checkpoint in a wrong partition to the right one."),
    ] = False,
    force: _Force = False,
    as_json: JsonFlag = False,
) -> None:
    """Resume a session after an event id, in a new epoch.

    Consumers miss nothing: events that were published before are published again with new numbers.
    """
    if misplaced == (session is not None) or (last_event_id is None) == (session is not None):
        raise typer.BadParameter("allowed: SERVER/SESSION and --last-event-id ID, or --misplaced alone")
    key = None if session is None else _session_key(os.fsencode(session))
    if last_event_id is not None:
        is_utf8 = not any("\ud800" <= character <= "\udfff" for character in last_event_id)
        if not (is_utf8 and sendable(last_event_id) and len(last_event_id) <= LONGEST_ID):
            refusal = "an HTTP header cannot carry it (control characters, a blank at either end, or too long)"
            raise typer.BadParameter(refusal, param_hint="--last-event-id")
    from bridge.admin.checkpoints import edit as changes

    def plan(topic: CheckpointsTopic) -> list[Edit]:
        if key is None or last_event_id is None:
            return changes.move_misplaced(topic)
        return changes.set_position(topic, key, last_event_id)

    _change(options, plan, force=force, as_json=as_json)


@command(checkpoints_app, "mix-bridge checkpoints reset local/abc", codes=_REFUSED, more=WITH_KAFKA)
def reset(
    *,
    options: SettingsOptions,
    session: _Session = None,
    key_hex: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="The bytes of the record's key, instead of SERVER/SESSION."),
    ] = None,
    partition: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Only remove the record with that key from this partition."),
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Remove everything stored about it, its epoch too.")] = False,
    force: _Force = False,
    as_json: JsonFlag = False,
) -> None:
    """Restart a session at its server's start_after_id, in a new epoch.

    Works on invalid checkpoints too. Consumers miss nothing: events that the server still has are published again with
    new numbers.
    """
    if (session is None) == (key_hex is None) or (forget and partition is not None):
        raise typer.BadParameter("allowed: SERVER/SESSION or --key-hex, with --partition N, with --forget, or alone")
    try:
        key = os.fsencode(session) if session is not None else bytes.fromhex(key_hex or "")
    except ValueError:
        raise typer.BadParameter("allowed: pairs of hex digits", param_hint="--key-hex") from None
    from bridge.admin.checkpoints import edit as changes

    def plan(topic: CheckpointsTopic) -> list[Edit]:
        if partition is not None:
            return changes.remove(topic, key, partition)
        if forget:
            return changes.forget(topic, key)
        own, settings = _session_key(key), topic.access.settings
        edits = changes.reset(topic, own)
        if own.server not in settings.servers:
            start = changes.start_after_id(settings, own.server)
            missing = f"the settings have no server {own.server}"
            typer.echo(f"{missing}: the session restarts at the default start_after_id {start!r}", err=True)
        return edits

    _change(options, plan, force=force, as_json=as_json)


def _session_key(key: bytes) -> SessionKey:
    from bridge.sharding.invalid_checkpoints import session_of

    session = session_of(key)
    if session is None:
        advice = "remove a record with such a key with --partition N"
        raise typer.BadParameter(f"{visible_bytes(key)!r} is not SERVER/SESSION ({advice})")
    return session


def _change(
    options: SettingsOptions, plan: Callable[[CheckpointsTopic], list[Edit]], *, force: bool, as_json: bool
) -> None:
    """Plan the edits, write them, and print the old and new positions."""
    from bridge.admin.checkpoints import text as texts
    from bridge.core.owner_records import FORGOTTEN_KEY

    topic = _read(options)
    edits = plan(topic)
    if edits and not force:
        topic.refuse_if_owned(write.partition for edit in edits for write in edit.writes)
    topic.write(edits)
    changes = [(topic.log.stored(edit.key), edit) for edit in edits if edit.key != FORGOTTEN_KEY]
    if as_json:
        print_json(texts.changed_document(topic.name, changes))
    else:
        typer.echo("\n".join(texts.changed_lines(topic.name, changes)))


command(checkpoints_app, "mix-bridge checkpoints export --output positions.jsonl", more=WITH_KAFKA)(export)
command(
    checkpoints_app,
    "mix-bridge checkpoints import positions.jsonl",
    codes={EXIT_FOUND: "a mix-bridge is running, the file is invalid or older than the topic: nothing was written"},
    more=WITH_KAFKA,
    name="import",
)(import_)
