"""``mix-bridge settings``, ``asyncapi`` and ``schemas``: the settings, and the contract with consumers as documents."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.command import JsonFlag, SettingsOptions, command, print_json
from bridge.cli.help import group
from bridge.errors import EXIT_FOUND, EXIT_OK, EXIT_SETTINGS, EXIT_UNREACHABLE

if TYPE_CHECKING:
    from bridge.admin.contract import Subject

settings_app = group("Print settings, their reference, or their schema.")
schemas_app = group("JSON Schemas of the events.")


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


def asyncapi(
    *,
    options: SettingsOptions,
    as_json: JsonFlag = False,  # noqa: ARG001 - the document is JSON in any case
) -> None:
    """Print the AsyncAPI document of the topics.

    It has the JSON Schemas of all event types, and the topics, the format and the type prefix of the settings.
    """
    settings = options.load().settings
    from bridge.admin.contract import document

    print_json(document(settings))


@command(schemas_app, "mix-bridge schemas export schemas", more=(EXIT_SETTINGS,))
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write; created if it is missing.")],
    *,
    as_json: JsonFlag = False,
) -> None:
    """Write a JSON Schema (2020-12) for each event type."""
    from bridge.admin.contract import export as write

    written = [str(path) for path in write(folder)]
    if as_json:
        print_json({"written": written})
    else:
        typer.echo("\n".join(written))


@command(
    schemas_app,
    "mix-bridge schemas register --config bridge.toml",
    codes={EXIT_FOUND: "the registry refused a schema", EXIT_UNREACHABLE: "the registry does not answer"},
    more=(EXIT_SETTINGS,),
)
def register(*, options: SettingsOptions, as_json: JsonFlag = False) -> None:
    """Register the schemas at `schemas.registry_url`.

    The subject of a schema is the CloudEvents type of its events, for example `mix.content`.
    """
    from bridge.admin.contract import register as register_all

    _print_subjects(register_all(options.load().settings), as_json=as_json)


@command(
    schemas_app,
    "mix-bridge schemas check --config bridge.toml",
    codes={
        EXIT_OK: "the registry has today's schemas",
        EXIT_FOUND: "a schema is not registered",
        EXIT_UNREACHABLE: "the registry does not answer",
    },
    more=(EXIT_SETTINGS,),
)
def check(*, options: SettingsOptions, as_json: JsonFlag = False) -> None:
    """Check that the registry has the schemas of this version."""
    from bridge.admin.contract import check as check_all

    _print_subjects(check_all(options.load().settings), as_json=as_json)


def _print_subjects(subjects: Sequence[Subject], *, as_json: bool) -> None:
    if as_json:
        print_json({"subjects": [{"subject": each.name, "id": each.id, "error": each.error} for each in subjects]})
    else:
        for each in subjects:
            typer.echo(f"{'failed' if each.error else 'ok':<6}  {each.name}  {each.error or each.id}")
    raise typer.Exit(EXIT_FOUND if any(each.error for each in subjects) else EXIT_OK)
