"""``mix-bridge log-level``: the log level of running daemons, for a limited time."""

from __future__ import annotations

from typing import Annotated

import typer

from bridge.cli.options import JsonFlag, SettingsOptions, UrlOption
from bridge.cli.output import print_all, print_json
from bridge.cli.status import daemons_of
from bridge.errors import EXIT_FOUND, EXIT_OK, EXIT_SETTINGS, EXIT_UNREACHABLE


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
    from bridge.admin.status.exchanges import change_level
    from bridge.admin.status.replicas import Outcome

    change = {"level": level.lower(), "for": duration} | ({} if logger is None else {"logger": logger})
    _check(change)
    endpoints, token = daemons_of(url, settings)
    answers = [(each.url, *change_level(each, token, change)) for each in endpoints]
    if as_json:
        rows = [{"url": where, "ok": done, "detail": text} for where, _, text, done in answers]
        print_json({"ok": all(row["ok"] for row in rows), "daemons": rows})
    else:
        print_all([f"{where}: {text}" for where, _, text, _ in answers])
    outcomes = {outcome for _, outcome, _, _ in answers}
    if Outcome.AWAY in outcomes:
        raise typer.Exit(EXIT_UNREACHABLE)
    if Outcome.REFUSED in outcomes:
        raise typer.Exit(EXIT_SETTINGS)
    raise typer.Exit(EXIT_OK if all(done for *_, done in answers) else EXIT_FOUND)


def _check(change: dict[str, str]) -> None:
    """Refuse a wrong use before any daemon is asked."""
    import json

    from bridge.observe.log_level_route import BadChange, parse_change

    try:
        parse_change(json.dumps(change).encode())
    except BadChange as error:
        key, _, text = str(error).partition(": ")
        raise typer.BadParameter(text, param_hint={"level": "LEVEL"}.get(key, f"--{key}")) from None
