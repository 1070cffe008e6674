"""What commands share: the settings options, before and after a command's name, and how they print results."""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import partial, wraps
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import typer

from bridge.cli.help import SETTINGS_PANEL, described
from bridge.clock import parse_rfc3339, unix_ms

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from bridge.admin.kafka_access import KafkaAccess
    from bridge.settings import Loaded

_UNLIMITED = 100_000
"""Columns where stdout is not a terminal: each row of a table stays on one line, for `grep`."""
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
UrlOption = Annotated[
    list[str] | None,
    typer.Option(metavar="URL", help="The HTTP endpoint of a daemon; default: that of the settings. Repeatable."),
]
TypeOption = Annotated[
    str | None, typer.Option("--type", metavar="TYPE", help="Only this event type, or a pattern: 'tool_*'.")
]


def _option(metavar: str, help_text: str) -> Any:  # noqa: ANN401 - typer declares its options as Any
    # readable=False: an unreadable file is a wrong setting (78), not a wrong use of the command line (2)
    return typer.Option(metavar=metavar, help=help_text, rich_help_panel=SETTINGS_PANEL, readable=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsOptions:
    """The values of the settings options."""

    server: Annotated[
        list[str] | None,
        _option(
            "[NAME=]URL",
            "A Mix server; without a name it is called `local`. Replaces the servers of all other sources. Repeatable.",
        ),
    ] = None
    session: Annotated[
        list[str] | None,
        _option("ID", "Bridge only this session, of the only server. Repeatable."),
    ] = None
    bootstrap_servers: Annotated[str | None, _option("HOST:PORT,...", "Bootstrap brokers.")] = None
    set: Annotated[list[str] | None, _option("KEY=VALUE", "Set any setting. Repeatable.")] = None
    config: Annotated[Path | None, _option("FILE", "TOML file; default: $MIX_BRIDGE_CONFIG.")] = None
    secrets_dir: Annotated[
        Path | None,
        _option("DIRECTORY", "Files named like servers__local__token; default: $CREDENTIALS_DIRECTORY."),
    ] = None
    log_level: Annotated[str | None, _option("LEVEL", "debug, info, warning or error.")] = None

    def load(self, *, to_run: bool = False) -> Loaded:
        """Load the settings of all sources. Raises SettingsError with every mistake, BadParameter for a wrong use."""
        from bridge.settings import load_all

        overrides = {}
        for text in self.set or ():
            key, equals, value = text.partition("=")
            if not equals or not key:
                # The message does not repeat the text: it may be a secret value
                raise typer.BadParameter("allowed: KEY=VALUE, for example kafka.compression=zstd", param_hint="--set")
            overrides[key.strip()] = value
        own = {"kafka.bootstrap_servers": self.bootstrap_servers, "log.level": self.log_level}
        return load_all(
            overrides | {key: value for key, value in own.items() if value is not None},
            os.environ,
            servers=_servers(self.server) if self.server else None,
            sessions=self.session or (),
            config=self.config,
            secrets_dir=self.secrets_dir,
            to_run=to_run,
        )

    def open_kafka(self, client_id: str = "mix-bridge") -> KafkaAccess:
        """Load the settings and start logging. Raises `SettingsError`, also when the brokers are missing."""
        from bridge.admin.kafka_access import KafkaAccess
        from bridge.cli.logs import start_command_logging

        access = KafkaAccess.of(self.load().settings, client_id)
        start_command_logging(access.settings)
        return access


def command(
    app: typer.Typer,
    *examples: str,
    codes: Mapping[int, str] = MappingProxyType({}),
    more: tuple[int, ...] = (),
    **of_typer: Any,  # noqa: ANN401 - the arguments of `Typer.command`
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add a command, with the settings options if it has ``options``; ``more``: codes with their common meaning."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        has_settings = "options" in inspect.signature(function).parameters
        added = accepts_settings(function) if has_settings else function
        return app.command(cls=described(examples, codes, more), **of_typer)(added)

    return add


def accepts_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the settings options, collected in its parameter ``options``.

    A command may have an own option of the same name, such as ``--session``. It replaces the settings option, before
    the command's name too.
    """
    hints = get_type_hints(command, include_extras=True)
    every = get_type_hints(SettingsOptions, include_extras=True)
    shared = {name: hint for name, hint in every.items() if name not in hints}
    replaced = [field.name for field in fields(SettingsOptions) if field.name not in shared]
    lists = {name for name in replaced if any(get_origin(each) is list for each in get_args(get_args(hints[name])[0]))}
    own = [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command).parameters.items()
        if name not in {"context", "options"}
    ]

    @wraps(command)
    def with_options(context: typer.Context, **arguments: Any) -> Any:  # noqa: ANN401 - as the command
        earlier = context.obj if isinstance(context.obj, SettingsOptions) else SettingsOptions()
        options = SettingsOptions(**{name: _joined(getattr(earlier, name), arguments.pop(name)) for name in shared})
        for name in replaced:
            if name in lists:
                arguments[name] = _joined(getattr(earlier, name), arguments[name])
            elif getattr(earlier, name) is not None:
                raise typer.BadParameter("it cannot be used with this command", param_hint=f"--{name}")
        if "context" in hints:
            arguments["context"] = context
        return command(options=options, **arguments)

    added = partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY)
    settings = [added(name, default=None, annotation=hint) for name, hint in shared.items()]
    parameters = [*own, added("context", annotation=typer.Context), *settings]
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # inspect's own protocol
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


def since_in_past(text: str, now: Callable[[], int] = unix_ms) -> int:
    """Parse ``--since``: a duration before now, or a past time with its offset. Returns Unix milliseconds."""
    from bridge.settings.quantities import parse_duration

    try:
        moment = now() - round(parse_duration(text) * 1000)
    except ValueError:
        try:
            moment = parse_rfc3339(text)
        except ValueError as error:
            allowed = "a duration such as 24h nor a time with its offset such as 2026-01-31T12:00:00Z"
            raise typer.BadParameter(f"{text!r} is neither {allowed}") from error
    if not 0 <= moment < now():
        raise typer.BadParameter(f"{text!r} is not in the past")
    return moment


def _joined(earlier: Any, later: Any) -> Any:  # noqa: ANN401 - an option's value
    """The value of an option before and after the command's name: lists are joined, else the later value counts."""
    if isinstance(earlier, list) and isinstance(later, list):
        return earlier + later
    return earlier if later is None else later


def _servers(texts: list[str]) -> Mapping[str, str]:
    servers: dict[str, str] = {}
    for text in texts:
        before, equals, after = text.partition("=")
        # A URL may contain = too, but never before its ://
        name, url = (before, after) if equals and not set(before) & set(":/") else ("local", text)
        if name in servers:
            raise typer.BadParameter(f"two servers are called {name!r}: name them, NAME=URL", param_hint="--server")
        servers[name] = url
    return servers


def seconds_of(text: str) -> float:
    """Parse ``--for``: a duration of more than 0."""
    from bridge.settings.quantities import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0.0
    if not seconds:
        raise typer.BadParameter(f"{text!r} is not a duration: use 10s, 2m or plain seconds, more than 0")
    return seconds


def since_option(help_text: str) -> Any:  # noqa: ANN401 - typer declares its options as Any
    """Return the option ``--since`` of a command."""
    return typer.Option(metavar="TIME", parser=since_in_past, help=help_text)


def for_option(help_text: str) -> Any:  # noqa: ANN401 - as above
    """Return the option ``--for`` of a command, in seconds."""
    return typer.Option("--for", metavar="DURATION", parser=seconds_of, help=help_text)


def session_parser(allowed: str, alone: Callable[[str], bool] = lambda _: False) -> Callable[[str], str]:
    """A parser of SERVER/ID; ``alone(text)``: a text without a slash is allowed too."""

    def parse(text: str) -> str:
        server, slash, session_id = text.partition("/")
        if not ((server and session_id) if slash else alone(text)):
            raise typer.BadParameter(f"{text!r} is no session; allowed: {allowed}")
        return text

    return parse


def print_json(document: dict[str, Any]) -> None:
    """Print the one document of ``--json``."""
    typer.echo(json.dumps(document, indent=2))


def console() -> Console:
    """Return a console for stdout that prints every string literally: no markup, no emoji codes, no highlighting."""
    from rich.console import Console

    made = Console(file=sys.stdout, markup=False, emoji=False, highlight=False)
    if not made.is_terminal:
        made.width = _UNLIMITED
    return made


def print_all(parts: Iterable[RenderableType], to: Console | None = None) -> None:
    """Print tables, and lines as long as they are. Without a terminal, lines have no blanks at their ends."""
    from rich.text import Text

    out = console() if to is None else to
    if out.is_terminal:
        for part in parts:
            out.print(part, soft_wrap=isinstance(part, str | Text))
        return
    with out.capture() as captured:
        for part in parts:
            out.print(part, soft_wrap=isinstance(part, str | Text))
    typer.echo("\n".join(line.rstrip(" ") for line in captured.get().splitlines()))
