"""``mix-bridge status``: the sessions of running daemons, from their HTTP endpoints."""

from __future__ import annotations

import queue
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.kafka_access import JSON_OPTION, echo_json
from bridge.cli.options import Given, takes_settings
from bridge.errors import EXIT_FOUND, EXIT_OK, EXIT_SETTINGS, EXIT_UNREACHABLE, SettingsError

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.text import Text

    from bridge.admin.status.replicas import Endpoint, Replica
    from bridge.settings import Settings

_EVERY = 2.0
"""Seconds between two looks of `--watch`."""
_MOST = 100
"""Lines without `--all`, where nobody watches: those in trouble come first."""
_ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what a daemon listens on is asked on this machine


@takes_settings
def status(
    *,
    given: Given,
    url: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A daemon's HTTP endpoint, instead of the settings' own. Repeatable."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")] = False,
    every: Annotated[bool, typer.Option("--all", help="A line for every session, however many.")] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Sessions and shards of running daemons, those in trouble first.

    0: all daemons answer and are ready. 1: one of them is not ready. 69: one does not answer. 78: one wants another
    token. A session in trouble by itself changes nothing of this: `/readyz` weighs how many are.
    """
    if watch and as_json:
        raise typer.BadParameter("one document cannot be watched: ask again instead", param_hint="--json")
    settings = given.load().settings
    from bridge.admin.status.replicas import ask_all  # noqa: PLC0415 - not needed to print help

    endpoints = _endpoints(url, settings)
    token = settings.http.token.get_secret_value() if settings.http.token else None
    if watch:
        _watch(endpoints, token, every=every)
        return
    replicas = ask_all(endpoints, token)
    if as_json:
        echo_json({"ok": _code(replicas) == EXIT_OK, "replicas": [each.document() for each in replicas]})
    else:
        _print(_console(), _picture(replicas, None if every else _MOST))
    raise typer.Exit(_code(replicas))


def _endpoints(urls: Sequence[str] | None, settings: Settings) -> list[Endpoint]:
    from bridge.admin.status.replicas import BadUrl, Endpoint  # noqa: PLC0415 - not needed to print help

    try:
        return list(dict.fromkeys(Endpoint.of(url) for url in urls)) if urls else [_own(settings)]
    except BadUrl as error:
        raise typer.BadParameter(str(error), param_hint="--url") from None


def _own(settings: Settings) -> Endpoint:
    from bridge.admin.status.replicas import Endpoint  # noqa: PLC0415 - as above

    if not settings.http.port:
        what = "none: there is no endpoint to ask" if settings.http.port is None else "0: the daemon picked a port"
        raise SettingsError.of("http.port", f"is {what}; name it with --url (its log says where it listens)")
    return Endpoint(_ANY_HOST.get(settings.http.host, settings.http.host), settings.http.port)


def _code(replicas: Sequence[Replica]) -> int:
    from bridge.admin.status.replicas import Outcome  # noqa: PLC0415 - as above

    outcomes = {each.outcome for each in replicas}
    if Outcome.AWAY in outcomes:
        return EXIT_UNREACHABLE
    if Outcome.REFUSED in outcomes:
        return EXIT_SETTINGS
    return EXIT_OK if all(each.ready for each in replicas) else EXIT_FOUND


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415 - slow, and not needed to print help

    return Console(file=sys.stdout, highlight=False)


def _picture(replicas: Sequence[Replica], most: int | None) -> list[Text]:
    from rich.text import Text  # noqa: PLC0415 - as above

    from bridge.admin.status.text import lines  # noqa: PLC0415 - as above
    from bridge.clock import unix_ms  # noqa: PLC0415 - as above

    return [Text(line.text, line.style) for line in lines(replicas, unix_ms(), most)]


def _print(console: Console, picture: Sequence[Text]) -> None:
    """Whole lines, however wide the screen is."""
    for line in picture:
        console.print(line, soft_wrap=True)


def _cut(picture: Sequence[Text]) -> Group:
    """Each line on one of the screen."""
    from rich.console import Group  # noqa: PLC0415 - as above

    for line in picture:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*picture)


_Heard = queue.SimpleQueue["Sequence[Replica] | None"]
"""Answers, and None for the wish to end: a signal that raised could leave the terminal on the watch's own screen."""


def _watch(endpoints: Sequence[Endpoint], token: str | None, *, every: bool) -> None:
    """On a terminal in place, elsewhere one picture after the other. The last one stays when it is ended."""
    from rich.live import Live  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    heard, console, most = _Heard(), _console(), None if every else _MOST
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: heard.put(None))
    threading.Thread(target=_keep_asking, args=(endpoints, token, heard), name="ask", daemon=True).start()
    last: Sequence[Replica] = ()
    if console.is_terminal:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while (replicas := heard.get()) is not None:
                last = replicas
                live.update(_cut(_picture(last, console.height)), refresh=True)
        _print(console, _picture(last, most) if last else [])
        return
    while (replicas := heard.get()) is not None:
        _print(console, [*_picture(replicas, most), Text()])


def _keep_asking(endpoints: Sequence[Endpoint], token: str | None, heard: _Heard) -> None:
    from bridge.admin.status.replicas import ask_all  # noqa: PLC0415 - as above

    never = threading.Event()
    while True:
        heard.put(ask_all(endpoints, token))
        never.wait(_EVERY)
