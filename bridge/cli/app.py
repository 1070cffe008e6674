"""The ``mix-bridge`` command and its sub-commands."""

from __future__ import annotations

from typing import Annotated

import typer

from bridge.cli.check import check
from bridge.cli.demo import demo
from bridge.cli.options import Given, takes_settings
from bridge.cli.run import run
from bridge.cli.settings_commands import settings_app

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


app.command()(run)
app.command()(demo)
app.command()(check)
app.add_typer(settings_app)
