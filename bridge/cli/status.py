"""``mix-bridge status``: the sessions of running daemons, from their HTTP endpoints."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from bridge.cli.ending import exit_if_unread
from bridge.cli.options import JsonFlag, SettingsOptions, UrlOption
from bridge.cli.output import console, print_all, print_json
from bridge.errors import EXIT_FOUND, EXIT_OK, EXIT_SETTINGS, EXIT_UNREACHABLE, SettingsError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bridge.admin.status.fleet import Rates, SessionStatus
    from bridge.admin.status.replicas import Endpoint, Replica
    from bridge.settings import Settings

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
    if as_json:
        print_json({"ok": _code(replicas) == EXIT_OK, "replicas": [each.document() for each in replicas]})
    else:
        print_all(_parts(replicas, None if every else _MAX_LINES))
    raise typer.Exit(_code(replicas))


def daemons_of(urls: Sequence[str] | None, settings: Settings) -> tuple[list[Endpoint], str | None]:
    """The endpoints of ``--url``, or that of the settings, and the token for them."""
    from bridge.admin.status.replicas import BadUrl, Endpoint
    from bridge.settings.values import plain

    try:
        found = list(dict.fromkeys(Endpoint.of(url) for url in urls)) if urls else [_own(settings)]
    except BadUrl as error:
        raise typer.BadParameter(str(error), param_hint="--url") from None
    return found, plain(settings.http.token)


def _own(settings: Settings) -> Endpoint:
    from bridge.admin.status.replicas import Endpoint

    if not settings.http.port:
        what = "none: the daemon has no endpoint" if settings.http.port is None else "0: the daemon chose a free port"
        raise SettingsError.of("http.port", f"is {what}; name it with --url (its log contains the address)")
    host, certificate = _ANY_HOST.get(settings.http.host, settings.http.host), settings.http.cert_file
    if certificate is None:
        return Endpoint(host, settings.http.port)
    return Endpoint(host, settings.http.port, tls=True, certificate=str(certificate))


def _code(replicas: Sequence[Replica]) -> int:
    from bridge.admin.status.replicas import Outcome

    outcomes = {each.outcome for each in replicas}
    if Outcome.AWAY in outcomes:
        return EXIT_UNREACHABLE
    if Outcome.REFUSED in outcomes:
        return EXIT_SETTINGS
    return EXIT_OK if all(each.ready for each in replicas) else EXIT_FOUND


def _parts(replicas: Sequence[Replica], most: int | None, rates: Rates | None = None) -> list[RenderableType]:
    from bridge.admin.status.text import parts
    from bridge.clock import unix_ms

    return list(parts(replicas, unix_ms(), most, rates))


class _Answer(NamedTuple):
    """The answers to one query, and the rates since the one before."""

    replicas: Sequence[Replica]
    rates: Rates


_Answers = queue.SimpleQueue[_Answer | None]
"""Answers, and None for the end: a signal handler that raised could leave the terminal on the alternate screen."""


def _watch(endpoints: Sequence[Endpoint], token: str | None, *, every: bool) -> None:
    """On a terminal in place, elsewhere one table after the other. The last one stays on the terminal."""
    from rich.console import Group
    from rich.live import Live

    answers, out, most = _Answers(), console(), None if every else _MAX_LINES

    def stop(_number: int, _frame: object) -> None:
        answers.put(None)
        exit_if_unread(EXIT_OK, answers.empty)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    threading.Thread(target=_query_repeatedly, args=(endpoints, token, answers), name="query", daemon=True).start()
    if not out.is_terminal:
        while (answer := answers.get()) is not None:
            print_all([*_parts(answer.replicas, most, answer.rates), ""])
        return
    last: _Answer | None = None
    with Live(console=out, screen=True, auto_refresh=False) as live:
        while (answer := answers.get()) is not None:
            last = answer
            live.update(Group(*map(_one_line, _parts(last.replicas, out.height, last.rates))), refresh=True)
    print_all(_parts(last.replicas, most, last.rates) if last else [], out)


def _one_line(part: RenderableType) -> RenderableType:
    """Cut a text at the edge of the terminal."""
    from rich.text import Text

    if isinstance(part, Text):
        part.no_wrap, part.overflow = True, "ellipsis"
    return part


def _query_repeatedly(endpoints: Sequence[Endpoint], token: str | None, answers: _Answers) -> None:
    from bridge.admin.status.fleet import Rates, members
    from bridge.admin.status.replicas import ask_all
    from bridge.clock import monotonic

    never = threading.Event()
    before: list[SessionStatus] = []
    asked_at = monotonic()
    while True:
        replicas, now = ask_all(endpoints, token), monotonic()
        sessions = [one for member in members(replicas) for one in member.sessions]
        answers.put(_Answer(replicas, Rates.between(before, sessions, now - asked_at)))
        before, asked_at = sessions, now
        never.wait(_INTERVAL)
