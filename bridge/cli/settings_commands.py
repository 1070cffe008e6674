"""``mix-bridge settings``: the settings in effect, their reference, and their schema."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from bridge.cli.help import group
from bridge.cli.options import JsonFlag, SettingsOptions, command
from bridge.cli.output import print_json
from bridge.errors import EXIT_SETTINGS

settings_app = group("Print settings, their reference, or their schema.")


class Format(StrEnum):
    """The forms of the reference."""

    MARKDOWN = "markdown"
    TOML = "toml"
    ENV = "env"
    JSON = "json"


@command(settings_app, "mix-bridge settings show --config /etc/mix-bridge/bridge.toml", more=(EXIT_SETTINGS,))
def show(options: SettingsOptions, as_json: JsonFlag = False) -> None:
    """Print the settings in effect and their sources, with secrets masked."""
    from bridge.settings.show import as_document, as_lines

    loaded = options.load()
    if as_json:
        print_json(as_document(loaded.settings))
    else:
        typer.echo("\n".join(as_lines(loaded)))


@command(settings_app, "mix-bridge settings reference --format toml")
def reference(
    form: Annotated[Format, typer.Option("--format", help="The form.")] = Format.MARKDOWN, as_json: JsonFlag = False
) -> None:
    """Print every setting with its default, allowed values and meaning."""
    from bridge.settings import reference as forms

    write = {
        Format.MARKDOWN: forms.as_markdown,
        Format.TOML: forms.as_toml,
        Format.ENV: forms.as_env,
        Format.JSON: forms.as_json,
    }
    typer.echo(write[Format.JSON if as_json else form](), nl=False)


@command(settings_app, "mix-bridge settings schema")
def schema(as_json: JsonFlag = False) -> None:  # noqa: ARG001 - it is always JSON
    """Print the JSON Schema of the settings, for TOML and JSON."""
    from bridge.settings.reference import as_schema

    print_json(as_schema())
