"""``mix-bridge run``: the daemon."""

from __future__ import annotations

import os
import sys

import typer

from bridge.cli.options import SettingsOptions, accepts_settings
from bridge.errors import EXIT_OK


@accepts_settings
def run(options: SettingsOptions) -> None:
    """Bridge the sessions of all servers to Kafka until SIGTERM or SIGINT."""
    try:
        settings = options.load(to_run=True).settings
        from bridge.cli.logs import start_logging
        from bridge.daemon.daemon import run as run_daemon

        start_logging(settings)
        code = run_daemon(settings)
    except KeyboardInterrupt:  # before the daemon handles signals itself; nothing is read yet that must be delivered
        code = EXIT_OK
    if code != EXIT_OK:
        _exit_at_once(code)
    raise typer.Exit(code)


def _exit_at_once(code: int) -> None:
    """Exit without waiting for threads of Kafka clients and readers, which may wait for a peer that does not answer."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
