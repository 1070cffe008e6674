"""``mix-bridge run``: the daemon."""

from __future__ import annotations

import typer

from bridge.cli.options import Given, takes_settings
from bridge.errors import EXIT_OK


@takes_settings
def run(given: Given) -> None:
    """Bridge the sessions of all servers to Kafka until SIGTERM or SIGINT."""
    try:
        settings = given.load(to_run=True).settings
        from bridge.cli.logs import start_logging  # noqa: PLC0415 - as below
        from bridge.daemon.daemon import run as run_daemon  # noqa: PLC0415 - Kafka's client is slow to import

        start_logging(settings)
        code = run_daemon(settings)
    except KeyboardInterrupt:  # before the daemon listens to signals itself; nothing is under way that must be drained
        code = EXIT_OK
    raise typer.Exit(code)
