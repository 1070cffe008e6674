"""``mix-bridge topics``: shows and creates the topics that the settings need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from bridge.cli.command import JsonFlag, SettingsOptions, command, print_json
from bridge.cli.help import WITH_KAFKA, group
from bridge.core.terminal_text import visible
from bridge.errors import EXIT_FOUND, EXIT_OK

if TYPE_CHECKING:
    from bridge.admin.topics import Row
    from bridge.kafka.topic_admin import TopicAdmin
    from bridge.settings import Settings

topics_app = group("Show and create the topics that the settings need.")
_FOUND = {EXIT_FOUND: "a topic does not fit, may not be described, or cannot be created; nothing was created"}
_TIMEOUT = 5.0
"""Seconds for one request to Kafka."""


def _principal(text: str) -> str:
    kind, _, name = text.partition(":")
    if not (kind.isalpha() and name):
        raise typer.BadParameter(f"{text!r} is no principal; allowed: TYPE:NAME, for example User:mix-bridge")
    return text


@command(
    topics_app,
    "mix-bridge topics plan --config /etc/mix-bridge/bridge.toml",
    "mix-bridge topics plan --acls --principal User:mix-bridge",
    codes=_FOUND,
    more=WITH_KAFKA,
    name="plan",
)
def plan_(
    *,
    options: SettingsOptions,
    acls: Annotated[
        bool, typer.Option("--acls", help="Print kafka-acls.sh commands instead; Kafka is not asked.")
    ] = False,
    principal: Annotated[
        str | None,
        typer.Option(
            metavar="User:NAME", parser=_principal, help="Who gets the permissions.  [default: kafka.sasl_username]"
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show which topics exist and which `topics apply` would create.

    With --acls: the commands that grant the bridge's user every permission that it needs, and no other.
    """
    if principal is not None and not acls:
        raise typer.BadParameter("it needs --acls", param_hint="--principal")
    from bridge.admin.topics import acl_commands, look

    if not acls:
        _print(options, look, as_json=as_json)
    commands = acl_commands(options.open_kafka().settings, principal)
    if as_json:
        print_json({"commands": commands})
    else:
        typer.echo("\n".join(commands))


@command(
    topics_app,
    "mix-bridge topics apply --config /etc/mix-bridge/bridge.toml",
    codes=_FOUND,
    more=WITH_KAFKA,
    name="apply",
)
def apply_(*, options: SettingsOptions, as_json: JsonFlag = False) -> None:
    """Create the missing topics, also with `topics.create = false`. Existing ones are never altered."""
    from bridge.admin.topics import apply

    _print(options, apply, as_json=as_json)


def _print(
    options: SettingsOptions, act: Callable[[Settings, TopicAdmin], Sequence[Row]], *, as_json: bool
) -> NoReturn:
    access = options.open_kafka("mix-bridge-topics")
    from bridge.admin.kafka_access import waiting
    from bridge.admin.topics import is_ok
    from bridge.kafka.topic_admin import TopicAdmin

    with waiting("Kafka"):
        rows = act(access.settings, TopicAdmin(access.config, _TIMEOUT))
    if as_json:
        print_json({"ok": is_ok(rows), "topics": [asdict(row) for row in rows]})
    else:
        typer.echo("\n".join(visible(row.line()) for row in rows))
    raise typer.Exit(EXIT_OK if is_ok(rows) else EXIT_FOUND)
