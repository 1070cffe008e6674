"""``mix-bridge settings``: what is in effect, what there is, and its schema."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from bridge.cli.options import Given, takes_settings

settings_app = typer.Typer(name="settings", help="Effective settings, the reference, the schema.", no_args_is_help=True)

_JSON = typer.Option("--json", help="One JSON document.")


class Format(StrEnum):
    """Forms of the reference."""

    MARKDOWN = "markdown"
    TOML = "toml"
    ENV = "env"
    JSON = "json"


@settings_app.command()
@takes_settings
def show(given: Given, as_json: Annotated[bool, _JSON] = False) -> None:  # noqa: FBT002 - a flag is typer's way
    """The effective settings of all sources, secrets masked, and where each came from."""
    from bridge.settings.show import as_document, as_lines  # noqa: PLC0415 - slow, and not needed to print help

    loaded = given.load()
    typer.echo(json.dumps(as_document(loaded.settings), indent=2) if as_json else "\n".join(as_lines(loaded)))


@settings_app.command()
def reference(
    form: Annotated[Format, typer.Option("--format", help="In which form.")] = Format.MARKDOWN,
    as_json: Annotated[bool, _JSON] = False,  # noqa: FBT002 - a flag is typer's way
) -> None:
    """Every setting with its default, what is allowed and what it means."""
    from bridge.settings import reference as forms  # noqa: PLC0415 - slow, and not needed to print help

    write = {
        Format.MARKDOWN: forms.as_markdown,
        Format.TOML: forms.as_toml,
        Format.ENV: forms.as_env,
        Format.JSON: forms.as_json,
    }
    typer.echo(write[Format.JSON if as_json else form](), nl=False)


@settings_app.command()
def schema(as_json: Annotated[bool, _JSON] = True) -> None:  # noqa: FBT002, ARG001 - it is JSON either way
    """JSON Schema of the settings, as TOML or JSON may give them."""
    from bridge.settings import Settings  # noqa: PLC0415 - slow, and not needed to print help

    typer.echo(json.dumps(Settings.model_json_schema(), indent=2))
