"""``mix-bridge run``: the daemon."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import typer

from bridge.cli.ending import exit_at_once
from bridge.cli.options import SettingsOptions, accepts_settings
from bridge.errors import EXIT_OK

if TYPE_CHECKING:
    from bridge.settings import Loaded


@accepts_settings
def run(options: SettingsOptions) -> None:
    """Bridge the sessions of all servers to Kafka until SIGTERM or SIGINT."""
    try:
        loaded = options.load(to_run=True)
        from bridge.cli.logs import secrets_of, secrets_of_files, start_logging
        from bridge.daemon.daemon import run as run_daemon
        from bridge.daemon.reload import Reloading

        redaction = start_logging(loaded.settings)

        def mask(current: Loaded) -> None:
            redaction.add([*secrets_of(current.settings), *secrets_of_files(current)])

        mask(loaded)
        code = run_daemon(Reloading(loaded, partial(options.load, to_run=True), mask))
    except KeyboardInterrupt:  # before the daemon handles signals itself; nothing is read yet that must be delivered
        code = EXIT_OK
    if code != EXIT_OK:
        exit_at_once(code)  # threads of Kafka clients and readers may wait for a peer that does not answer
    raise typer.Exit(code)
