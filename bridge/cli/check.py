"""``mix-bridge check``: whether a start would succeed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.admin.check.line import ALL, OFFLINE, Part, chosen, is_wanted, passed
from bridge.cli.command import JsonFlag, SettingsOptions, print_json
from bridge.core.terminal_text import visible
from bridge.errors import EXIT_FOUND, EXIT_OK

if TYPE_CHECKING:
    from bridge.admin.check.line import Line
    from bridge.core.identity import SessionKey
    from bridge.settings import Loaded

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


def check(
    options: SettingsOptions,
    *,
    as_json: JsonFlag = False,
    offline: Annotated[bool, typer.Option("--offline", help="Settings and files only: open no connection.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as failures.")] = False,
    only: Annotated[str | None, typer.Option(metavar="PART,...", help=f"Check only these: {', '.join(Part)}.")] = None,
    probe: Annotated[
        str | None, typer.Option("--probe", metavar="SERVER/SESSION", help="Does the server resume this stream?")
    ] = None,
) -> None:
    """Check settings, Kafka, topics, servers and the HTTP port.

    One line for each check, with a hint for each failure. The command creates and changes nothing.

    --probe reads the session's stream, drops it, requests it again before its last event, and compares. On a Mix server
    without ids each reader takes part in runs: there the probe leaves at the first event.
    """
    if offline and probe is not None:
        raise typer.BadParameter("needs a connection: it cannot be used with --offline", param_hint="--probe")
    try:
        parts = ALL if only is None else chosen(only)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--only") from error
    if offline and only is not None and (connecting := sorted(parts - OFFLINE)):
        text = f"{', '.join(connecting)} cannot be checked with --offline; allowed: {', '.join(sorted(OFFLINE))}"
        raise typer.BadParameter(text, param_hint="--only")
    loaded = options.load(to_run=True)
    probed = None if probe is None else _session(probe, loaded)
    from bridge.admin.kafka_access import waiting
    from bridge.cli.logs import secrets_of, start_command_logging
    from bridge.observe.logs import Redaction

    start_command_logging(loaded.settings)
    with waiting("answers"):
        if offline:
            from bridge.admin.check.offline import check_offline

            found = check_offline(loaded)
        else:
            from bridge.admin.check.checkup import check_all
            from bridge.daemon.source import Source

            found = check_all(loaded, [Source(name, loaded.settings) for name in loaded.settings.servers], parts)
        lines = [line for line in found if is_wanted(line, parts)]
        if probed is not None:
            lines.append(_probe(probed, loaded))
    ok = passed(lines, strict=strict)
    masked = Redaction(secrets_of(loaded.settings))(None, "", _document(lines, ok=ok))
    if as_json:
        print_json(dict(masked))
    else:
        for line in masked["checks"]:
            text = f"{line['subject']}: {line['detail']}" + (f" - {line['hint']}" if line["hint"] else "")
            state = typer.style(f"{line['state']:<8}", fg=_COLOURS[line["state"]])
            typer.echo(state + visible(text), color=False if "NO_COLOR" in os.environ else None)
    raise typer.Exit(EXIT_OK if ok else EXIT_FOUND)


def _session(probe: str, loaded: Loaded) -> SessionKey:
    """The session that ``--probe`` names. Session ids may contain slashes, names of servers may not."""
    from bridge.core.identity import SessionKey
    from bridge.settings.checks import session_id

    server, _, session = probe.partition("/")
    if not session:
        raise typer.BadParameter(f"{probe!r} is not SERVER/SESSION", param_hint="--probe")
    if server not in loaded.settings.servers:
        known = ", ".join(sorted(loaded.settings.servers))
        text = f"{server!r} is not a server of the settings; there are: {known}"
        raise typer.BadParameter(text, param_hint="--probe")
    try:
        return SessionKey(server, session_id(session))
    except ValueError as error:
        raise typer.BadParameter(f"{probe!r} {error}", param_hint="--probe") from error


def _probe(key: SessionKey, loaded: Loaded) -> Line:
    from time import sleep

    from bridge.admin.check.probe import Probed, probe
    from bridge.daemon.source import Source
    from bridge.sse.connection import Connector

    source = Source(key.server, loaded.settings)
    # Without overlap the daemon believes the server; the question here is whether it should.
    source.settings = source.settings.model_copy(update={"overlap": True})
    url, connector = source.stream_url(key.session_id), Connector(source.endpoint)
    continuity, start = source.continuity(None), source.settings.start_after_id
    return probe(Probed(key, url, connector, continuity, start, source.means_no_session), sleep)


def _document(lines: Sequence[Line], *, ok: bool) -> dict[str, Any]:
    return {"ok": ok, "checks": [asdict(line) for line in lines]}
