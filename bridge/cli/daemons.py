"""``mix-bridge status``, ``log-level`` and ``support-bundle``: what running daemons are asked over HTTP."""

from __future__ import annotations

import io
import json
import os
import queue
import signal
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge import __version__
from bridge.cli import exit_if_unread
from bridge.cli.command import JsonFlag, SettingsOptions, UrlOption, console, print_all, print_json
from bridge.errors import EXIT_FOUND, EXIT_OK, EXIT_SETTINGS, EXIT_UNREACHABLE, SettingsError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bridge.admin.status.fleet import Rates, SessionStatus
    from bridge.admin.status.replicas import Endpoint, Outcome, Replica
    from bridge.settings import Loaded, Settings

    _Answers = queue.SimpleQueue[Callable[[int | None], list[RenderableType]] | None]
    """The tables of a query, and None for the end: a handler that raised could leave the terminal on another screen."""

_INTERVAL = 2.0
"""Seconds between two queries of `--watch`."""
_MAX_LINES = 100
"""Lines without `--all`: sessions with problems come first."""
_ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}  # noqa: S104 - a daemon that listens on all addresses is queried locally


def status(
    *,
    options: SettingsOptions,
    url: UrlOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Repeat every two seconds, with records per second, until Ctrl-C.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Print a row for every session.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show sessions and shards of running daemons.

    Sessions with a problem come first. A problem of a session does not change the exit code: /readyz considers how many
    there are.
    """
    if watch and as_json:
        raise typer.BadParameter("it cannot be used with --watch", param_hint="--json")
    settings = options.load().settings
    from bridge.admin.status.replicas import ask_all

    endpoints, token = daemons_of(url, settings)
    if watch:
        _watch(endpoints, token, every=every)
        return
    replicas = ask_all(endpoints, token)
    code = _code((each.outcome for each in replicas), ok=all(each.ready for each in replicas))
    if as_json:
        print_json({"ok": code == EXIT_OK, "replicas": [each.document() for each in replicas]})
    else:
        print_all(_parts(replicas, None if every else _MAX_LINES))
    raise typer.Exit(code)


def log_level(
    *,
    options: SettingsOptions,
    level: Annotated[str, typer.Argument(metavar="LEVEL", help="debug, info, warning or error.")],
    logger: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this logger, such as bridge.sse; default: all.")
    ] = None,
    duration: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="Then the level of the settings is used again.")
    ] = "10m",
    url: UrlOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Change the log level of running daemons for a limited time."""
    settings = options.load().settings
    from bridge.admin.status.replicas import change_level
    from bridge.observe.operator_routes import BadChange, parse_change

    change = {"level": level.lower(), "for": duration} | ({} if logger is None else {"logger": logger})
    try:
        parse_change(json.dumps(change).encode())  # a wrong use asks no daemon
    except BadChange as error:
        key, _, text = str(error).partition(": ")
        raise typer.BadParameter(text, param_hint={"level": "LEVEL"}.get(key, f"--{key}")) from None
    endpoints, token = daemons_of(url, settings)
    answers = [(each.url, *change_level(each, token, change)) for each in endpoints]
    is_done = all(done for *_, done in answers)
    if as_json:
        rows = [{"url": where, "ok": done, "detail": text} for where, _, text, done in answers]
        print_json({"ok": is_done, "daemons": rows})
    else:
        print_all([f"{where}: {text}" for where, _, text, _ in answers])
    raise typer.Exit(_code((outcome for _, outcome, _, _ in answers), ok=is_done))


def daemons_of(urls: Sequence[str] | None, settings: Settings) -> tuple[list[Endpoint], str | None]:
    """The endpoints of ``--url``, or that of the settings, and the token for them."""
    from bridge.admin.status.replicas import BadUrl, Endpoint
    from bridge.settings.values import plain

    http, token = settings.http, plain(settings.http.token)
    if urls:
        try:
            return list(dict.fromkeys(map(Endpoint.of, urls))), token
        except BadUrl as error:
            raise typer.BadParameter(str(error), param_hint="--url") from None
    if not http.port:
        what = "none: the daemon has no endpoint" if http.port is None else "0: the daemon chose a free port"
        raise SettingsError.of("http.port", f"is {what}; name it with --url (its log contains the address)")
    host, file = _ANY_HOST.get(http.host, http.host), None if http.cert_file is None else str(http.cert_file)
    return [Endpoint(host, http.port, file is not None, certificate=file)], token


def _code(outcomes: Iterable[Outcome], *, ok: bool) -> int:
    from bridge.admin.status.replicas import Outcome

    found = {*outcomes}
    if Outcome.AWAY in found:
        return EXIT_UNREACHABLE
    if Outcome.REFUSED in found:
        return EXIT_SETTINGS
    return EXIT_OK if ok else EXIT_FOUND


def _parts(replicas: Sequence[Replica], most: int | None, rates: Rates | None = None) -> list[RenderableType]:
    from bridge.admin.status.text import parts
    from bridge.clock import unix_ms

    return list(parts(replicas, unix_ms(), most, rates))


def _watch(endpoints: Sequence[Endpoint], token: str | None, *, every: bool) -> None:
    """On a terminal in place, elsewhere one table after the other. The last one stays on the terminal."""
    from rich.console import Group
    from rich.live import Live

    answers: _Answers = queue.SimpleQueue()
    out, most = console(), None if every else _MAX_LINES

    def stop(_number: int, _frame: object) -> None:
        answers.put(None)
        exit_if_unread(EXIT_OK, answers.empty)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    threading.Thread(target=_query_repeatedly, args=(endpoints, token, answers), name="query", daemon=True).start()
    if not out.is_terminal:
        while (tables := answers.get()) is not None:
            print_all([*tables(most), ""])
        return
    last = None
    with Live(console=out, screen=True, auto_refresh=False) as live:
        while (tables := answers.get()) is not None:
            last = tables
            live.update(Group(*map(_one_line, tables(out.height))), refresh=True)
    print_all(last(most) if last else [], out)


def _one_line(part: RenderableType) -> RenderableType:
    """Cut a text at the edge of the terminal."""
    from rich.text import Text

    if isinstance(part, Text):
        part.no_wrap, part.overflow = True, "ellipsis"
    return part


def _query_repeatedly(endpoints: Sequence[Endpoint], token: str | None, answers: _Answers) -> None:
    from bridge.admin.status.fleet import members, rates_between
    from bridge.admin.status.replicas import ask_all
    from bridge.clock import monotonic

    never = threading.Event()
    before: list[SessionStatus] = []
    asked_at = monotonic()
    while True:
        replicas, now = ask_all(endpoints, token), monotonic()
        sessions = [one for member in members(replicas) for one in member.sessions]
        answers.put(partial(_parts, replicas, rates=rates_between(before, sessions, now - asked_at)))
        before, asked_at = sessions, now
        never.wait(_INTERVAL)


def support_bundle(
    *,
    options: SettingsOptions,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The archive; default: mix-bridge-support-TIME.tar.gz.")
    ] = None,
    url: UrlOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write versions, masked settings, status, metrics, recent log lines and thread stacks into one archive."""
    loaded = options.load()
    from bridge.admin.status.replicas import parts_of
    from bridge.settings.show import as_document, as_lines

    endpoints, token = daemons_of(url, loaded.settings)
    file = output or Path(f"mix-bridge-support-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.tar.gz")
    files = {
        "version.txt": f"mix-bridge {__version__}\n".encode(),
        "settings.json": json.dumps(as_document(loaded.settings), indent=2).encode(),
        "settings.txt": "".join(f"{line}\n" for line in as_lines(loaded)).encode(),
    }
    troubles, code = [], EXIT_OK
    for endpoint in endpoints:
        folder = f"{endpoint.host}-{endpoint.port}".replace(":", "_")
        for part in parts_of(endpoint, token):
            if part.content is not None:
                files[f"{folder}/{part.name}"] = part.content
                continue
            troubles.append(f"{endpoint.url}: no {part.name}: {part.trouble}")
            code = EXIT_UNREACHABLE if not part.is_rejected or code == EXIT_UNREACHABLE else EXIT_SETTINGS
    files["missing.txt"] = "".join(f"{line}\n" for line in troubles).encode()
    _write(file, files, loaded)
    if as_json:
        print_json({"ok": code == EXIT_OK, "file": str(file), "missing": troubles})
    else:
        print_all([*troubles, f"wrote {file}: look it over before you send it, it names servers and sessions"])
    raise typer.Exit(code)


def _write(file: Path, files: dict[str, bytes], loaded: Loaded) -> None:
    """Write a new file that only this user can read, completely or not at all, without the secrets of the settings."""
    from bridge.cli.logs import secrets_of, secrets_of_files
    from bridge.observe.logs import Redaction

    secrets = Redaction([*secrets_of(loaded.settings), *secrets_of_files(loaded)])
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise typer.BadParameter(f"cannot write {file}: {error.strerror}", param_hint="--output") from None
    try:
        with os.fdopen(descriptor, "wb") as out, tarfile.open(fileobj=out, mode="w:gz") as archive:
            for name, content in files.items():
                text = secrets.masked(content.decode(errors="replace")).encode()
                entry = tarfile.TarInfo(f"mix-bridge-support/{name}")
                entry.size, entry.mtime, entry.mode = len(text), int(time.time()), 0o600
                archive.addfile(entry, io.BytesIO(text))
    except BaseException:
        file.unlink()
        raise
