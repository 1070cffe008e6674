"""The ``mix-bridge`` command and its sub-commands."""

from __future__ import annotations

from typing import Annotated

import typer

from bridge.cli.check import check
from bridge.cli.checkpoints import checkpoints_app
from bridge.cli.checkpoints_transfer import export, import_
from bridge.cli.dead_letters import dead_letters_app
from bridge.cli.demo import demo
from bridge.cli.options import Given, takes_settings
from bridge.cli.run import run
from bridge.cli.settings_commands import settings_app
from bridge.cli.status import status
from bridge.cli.verify import verify

# Commands of the interface that come with later versions: to guess at a misspelt one of this version would mislead
_LATER = ("topics", "asyncapi")

app = typer.Typer(
    name="mix-bridge",
    help="Mix agent event streams (SSE) into Kafka: nothing lost, in order, resumed after any crash.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they would print local variables, and with them secrets
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
@takes_settings
def before(
    context: typer.Context,
    given: Given,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,  # noqa: FBT002, ARG001 - typer's way; `main` answers it
) -> None:
    """Options that stand before the command are as good as those after it."""
    context.obj = given


def _not_in_this_version(context: typer.Context) -> None:
    context.fail(f"{context.info_name} is not in this version")


app.command()(run)
app.command()(demo)
app.command()(check)
app.command()(status)
app.command()(verify)
app.add_typer(dead_letters_app, name="dead-letters")
app.add_typer(dead_letters_app, name="dlq", hidden=True)
checkpoints_app.command("export")(export)
checkpoints_app.command("import")(import_)
app.add_typer(checkpoints_app)
app.add_typer(settings_app)
for _name in _LATER:
    app.command(
        _name,
        hidden=True,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(_not_in_this_version)
