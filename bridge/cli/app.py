"""The ``mix-bridge`` command and its sub-commands."""

from __future__ import annotations

from typing import Annotated

import typer

from bridge.cli.check import check
from bridge.cli.checkpoints import checkpoints_app
from bridge.cli.command import SettingsOptions, accepts_settings, command
from bridge.cli.daemons import log_level, status, support_bundle
from bridge.cli.dead_letters import dead_letters_app
from bridge.cli.demo import demo
from bridge.cli.documents import asyncapi, schemas_app, settings_app
from bridge.cli.help import WITH_KAFKA, Group
from bridge.cli.run import run
from bridge.cli.tail import tail
from bridge.cli.topics import topics_app
from bridge.cli.verify import verify
from bridge.errors import EXIT_FATAL, EXIT_FOUND, EXIT_OK, EXIT_SETTINGS, EXIT_UNREACHABLE

app = typer.Typer(
    name="mix-bridge",
    cls=Group,
    help="Copy Mix agent event streams (SSE) into Kafka: nothing lost, in order, resumed after any crash.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich is slow to import, and its boxes are hard to search
    pretty_exceptions_enable=False,  # they print local variables, which may be secrets
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
@accepts_settings
def before(
    context: typer.Context,
    options: SettingsOptions,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,  # noqa: ARG001 - `main` prints it
) -> None:
    """Keep the settings options before the command's name for the command."""
    context.obj = options


command(
    app,
    "mix-bridge run --config /etc/mix-bridge/bridge.toml",
    codes={
        EXIT_OK: "stopped as requested",
        EXIT_UNREACHABLE: "Kafka, or every server, could not be reached within start_timeout",
        EXIT_FATAL: "a fatal error; start it again",
    },
    more=(EXIT_SETTINGS,),
    short_help="Run the daemon.",
)(run)
command(
    app,
    "mix-bridge demo --for 10s",
    codes={EXIT_FOUND: "an event was lost", EXIT_FATAL: "a fatal error; run it again"},
    short_help="Show everything on this machine, with simulated agents.",
)(demo)
command(
    app,
    "mix-bridge check --config /etc/mix-bridge/bridge.toml",
    codes={EXIT_OK: "no check failed", EXIT_FOUND: "a check failed"},
    more=(EXIT_SETTINGS,),
)(check)
_OF_DAEMONS = {
    EXIT_UNREACHABLE: "a daemon does not answer",
    EXIT_SETTINGS: "wrong settings, or a daemon rejected the token",
}
command(
    app,
    "mix-bridge status --url http://bridge-0:8090 --url http://bridge-1:8090",
    codes=_OF_DAEMONS | {EXIT_OK: "every daemon answers and is ready", EXIT_FOUND: "a daemon is not ready"},
)(status)
command(
    app,
    "mix-bridge support-bundle --config /etc/mix-bridge/bridge.toml --output /tmp/bundle.tar.gz",
    codes=_OF_DAEMONS
    | {
        EXIT_OK: "everything is in the archive",
        EXIT_UNREACHABLE: "a daemon did not answer; the archive has the rest",
    },
    name="support-bundle",
    short_help="Write what a bug report needs into one archive.",
)(support_bundle)
command(
    app,
    "mix-bridge log-level debug --logger bridge.sse --for 10m --url http://localhost:8090",
    codes=_OF_DAEMONS | {EXIT_OK: "every daemon has the level now", EXIT_FOUND: "a daemon refused it"},
    name="log-level",
)(log_level)
command(
    app,
    "mix-bridge tail 'local/*' --type 'tool_*' --since 10m",
    "mix-bridge tail --topic dead-letters --format json | jq .error",
    codes={
        EXIT_OK: "ended as requested, also by Ctrl-C or a closed pipe",
        EXIT_SETTINGS: "wrong settings, or no such topic",
    },
    more=(EXIT_UNREACHABLE, EXIT_FATAL),
    short_help="Print records as they arrive.",
)(tail)
command(
    app,
    "mix-bridge verify --session local/abc --since 24h",
    codes={
        EXIT_OK: "everything is there, or its absence is explained",
        EXIT_FOUND: "something is lost or hidden, or a requested session is unknown",
    },
    more=WITH_KAFKA,
)(verify)
app.add_typer(dead_letters_app, name="dead-letters")
app.add_typer(dead_letters_app, name="dlq", hidden=True)
app.add_typer(checkpoints_app, name="checkpoints")
app.add_typer(topics_app, name="topics")
app.add_typer(settings_app, name="settings")
command(app, "mix-bridge asyncapi > asyncapi.json", more=(EXIT_SETTINGS,))(asyncapi)
app.add_typer(schemas_app, name="schemas")
