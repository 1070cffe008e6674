"""``mix-bridge run``: the daemon, or the parent of several."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli import exit_at_once
from bridge.cli.command import SettingsOptions
from bridge.errors import EXIT_OK

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.settings import Loaded


def run(
    options: SettingsOptions,
    workers: Annotated[
        str | None, typer.Option(metavar="N", help="Processes that share the sessions; auto: one per core.")
    ] = None,
    worker_port_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Bridge the sessions of all servers to Kafka until SIGTERM or SIGINT."""
    if workers is not None:
        options = replace(options, set=[*(options.set or ()), f"workers={workers}"])
    load = partial(_load, options, is_worker=worker_port_fd is not None)
    try:
        code = _run(load, worker_port_fd)
    except KeyboardInterrupt:  # before the daemon handles signals itself; nothing is read yet that must be delivered
        code = EXIT_OK
    if code != EXIT_OK:
        exit_at_once(code)  # threads of Kafka clients and readers may wait for a peer that does not answer
    raise typer.Exit(code)


def _load(options: SettingsOptions, *, is_worker: bool) -> Loaded:
    loaded = options.load(to_run=True)
    if not is_worker:
        return loaded
    # Only its parent asks a worker, on this machine: over TLS it could not while the certificate is being replaced.
    without = {"cert_file": None, "key_file": None}
    http = loaded.settings.http.model_copy(update=without)
    contents = {path: each for path, each in loaded.contents.items() if path not in {("http", key) for key in without}}
    return replace(loaded, settings=loaded.settings.model_copy(update={"http": http}), contents=contents)


def _run(load: Callable[[], Loaded], worker_port_fd: int | None) -> int:
    loaded = load()
    from bridge.cli.logs import secrets_of, secrets_of_files, start_logging
    from bridge.daemon.reload import Reloading
    from bridge.daemon.service import Notify, notify_of

    redaction = start_logging(loaded.settings)

    def mask(current: Loaded) -> None:
        redaction.add([*secrets_of(current.settings), *secrets_of_files(current)])

    mask(loaded)
    reloading = Reloading(loaded, load, mask)
    if worker_port_fd is None and reloading.loaded.settings.workers > 1:
        from bridge.workers.parent import run as run_workers

        return run_workers(reloading, sys.argv[1:], notify_of())
    from bridge.daemon.process import run as run_daemon

    if worker_port_fd is None:
        return run_daemon(reloading, notify_of())
    from bridge.workers.process import end_with_parent, tell_port

    end_with_parent(worker_port_fd)
    return run_daemon(reloading, Notify(None), partial(tell_port, worker_port_fd))
