"""The options that name settings: every command that reads settings takes them, before and after its name."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import typer

if TYPE_CHECKING:
    from bridge.settings import Loaded

_PANEL = "Settings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the command line says about settings."""

    server: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]URL",
            help="A server, called `local` without a name; replaces the servers of all other sources. Repeatable.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    session: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Bridge this session of the one server there is, and discover none. Repeatable.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    bootstrap_servers: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT,...", help="Kafka brokers to begin with.", rich_help_panel=_PANEL),
    ] = None
    set: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Any setting. Repeatable.", rich_help_panel=_PANEL),
    ] = None
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="TOML file, instead of $MIX_BRIDGE_CONFIG.",
            rich_help_panel=_PANEL,
            readable=False,  # not typer's to judge: a file that cannot be read is wrong settings, not wrong use
        ),
    ] = None
    secrets_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIRECTORY",
            help="Files named like servers__local__token, instead of $CREDENTIALS_DIRECTORY.",
            rich_help_panel=_PANEL,
            readable=False,  # as above
        ),
    ] = None
    log_level: Annotated[
        str | None,
        typer.Option(metavar="LEVEL", help="debug, info, warning or error.", rich_help_panel=_PANEL),
    ] = None

    def after(self, earlier: Given) -> Given:
        """These options with those that stood before the command: lists are joined, of the others the later wins."""
        return Given(
            **{field.name: _joined(getattr(earlier, field.name), getattr(self, field.name)) for field in fields(self)}
        )

    def load(self, *, to_run: bool = False) -> Loaded:
        """The settings of all sources. Raises SettingsError with every mistake, BadParameter for a misused option."""
        from bridge.settings import load_all  # noqa: PLC0415 - slow, and not needed to print help

        return load_all(
            self._overrides(),
            os.environ,
            servers=_servers(self.server) if self.server else None,
            sessions=self.session or (),
            config=self.config,
            secrets_dir=self.secrets_dir,
            to_run=to_run,
        )

    def _overrides(self) -> dict[str, str]:
        overrides = dict(_assignment(text) for text in self.set or ())
        own = {"kafka.bootstrap_servers": self.bootstrap_servers, "log.level": self.log_level}
        return overrides | {key: value for key, value in own.items() if value is not None}


def takes_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command all options of `Given`, collected in its parameter ``given``.

    An option that the command has itself under the same name (``session``, where it says which ones to show) takes the
    place of that one, before the command's name too.
    """
    hints = get_type_hints(command, include_extras=True)
    options = {name: option for name, option in get_type_hints(Given, include_extras=True).items() if name not in hints}
    replaced = [field.name for field in fields(Given) if field.name not in options]
    lists = {name for name in replaced if any(get_origin(each) is list for each in get_args(get_args(hints[name])[0]))}
    own = [parameter for name, parameter in inspect.signature(command).parameters.items() if name != "given"]
    own = [parameter.replace(annotation=hints[parameter.name]) for parameter in own]
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in options.items()
    ]

    @functools.wraps(command)
    def with_given(**arguments: Any) -> Any:  # noqa: ANN401 - whatever the command takes and returns
        given = Given(**{name: arguments.pop(name) for name in options})
        caller: typer.Context = arguments["context"] if takes_context else arguments.pop("context")
        earlier = caller.obj if isinstance(caller.obj, Given) else Given()
        for name in replaced:
            if name in lists:
                arguments[name] = _joined(getattr(earlier, name), arguments[name])
            elif getattr(earlier, name) is not None:
                raise typer.BadParameter("it does not go with this command", param_hint=f"--{name}")
        earlier = replace(earlier, **dict.fromkeys(replaced))
        return command(given=given.after(earlier), **arguments)

    takes_context = any(parameter.name == "context" for parameter in own)
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    parameters += shared if takes_context else [context, *shared]
    with_given.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # inspect's own protocol
    with_given.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_given


def refuse_settings(context: typer.Context) -> None:
    """For a command that reads no settings: options of settings before its name are a misuse, not a no-op."""
    if isinstance(context.obj, Given) and context.obj != Given():
        raise typer.BadParameter("this command reads no settings, it has only the options of its own")


def _joined(earlier: Any, later: Any) -> Any:  # noqa: ANN401 - an option's value
    if isinstance(earlier, list) and isinstance(later, list):
        return earlier + later
    return earlier if later is None else later


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        # The text is not repeated: it may be the value
        raise typer.BadParameter("it takes KEY=VALUE, for instance kafka.compression=zstd", param_hint="--set")
    return key.strip(), value


def _servers(texts: list[str]) -> Mapping[str, str]:
    servers: dict[str, str] = {}
    for text in texts:
        before, equals, after = text.partition("=")
        # A URL may hold = too, but never before its ://
        name, url = (before, after) if equals and not set(before) & set(":/") else ("local", text)
        if name in servers:
            raise typer.BadParameter(f"there are two called {name!r}: name them, NAME=URL", param_hint="--server")
        servers[name] = url
    return servers
