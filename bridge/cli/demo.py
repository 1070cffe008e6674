"""``mix-bridge demo``: the whole way on this machine, with nothing to install."""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from bridge.cli.options import refuse_settings
from bridge.errors import EXIT_FATAL, EXIT_FOUND, EXIT_OK, FatalFault

if TYPE_CHECKING:
    from bridge.demo.screen import Screen
    from bridge.demo.summary import Tally, Verdict

_Signals = queue.SimpleQueue[int]


def _seconds(text: str) -> float:
    from bridge.settings.quantities import parse_duration  # noqa: PLC0415 - slow, and not needed to print help

    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0.0
    if not seconds:
        raise typer.BadParameter(f"{text!r} is no duration: it takes 10s, 2m or plain seconds, more than 0")
    return seconds


def demo(  # noqa: PLR0913 - its own options, each by name
    *,
    context: typer.Context,
    seconds: Annotated[
        float | None,
        typer.Option("--for", metavar="DURATION", parser=_seconds, help="End by itself, for instance after 10s or 2m."),
    ] = None,
    sessions: Annotated[int, typer.Option(min=1, max=200, help="Agent sessions at the start.")] = 4,
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="Events a second of each session.")] = 10.0,
    seed: Annotated[int, typer.Option(help="The same seed lets the agents say the same.")] = 1,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Connections break, the server restarts, events are poisoned meanwhile.")
    ] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours, as with NO_COLOR.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="The outcome as one JSON document; all else goes to stderr.")
    ] = False,
) -> None:
    """See it all on this machine: embedded Kafka, simulated Mix server, the bridge, a consumer that prints.

    Reads no settings, no environment, no file. At the end what was sent is compared with what arrived: exit code 1 if
    anything was lost.
    """
    refuse_settings(context)
    asked_to_end = _signals()
    from bridge.demo.screen import Screen  # noqa: PLC0415 - slow, and not needed to print help

    try:
        with Screen(
            sys.stderr if as_json else sys.stdout, colours=not no_color and "NO_COLOR" not in os.environ
        ) as screen:
            verdict = _play(screen, asked_to_end, seconds=seconds, sessions=sessions, rate=rate, seed=seed, chaos=chaos)
    except FatalFault as fault:
        _end_now(str(fault))
    if as_json:
        typer.echo(json.dumps(_document(verdict), indent=2))
    raise typer.Exit(EXIT_OK if verdict.total.is_good else EXIT_FOUND)


def _signals() -> _Signals:
    asked_to_end: _Signals = queue.SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: asked_to_end.put(received))
    return asked_to_end


def _play(screen: Screen, asked_to_end: _Signals, **wishes: Any) -> Verdict:  # noqa: ANN401 - the fields of Wishes
    screen.title("mix-bridge demo", "starting Kafka, a Mix server, the bridge and a consumer")
    # After the first line, which nobody should have to wait for.
    from bridge.demo.personas import Wishes  # noqa: PLC0415
    from bridge.demo.scenario import Scenario  # noqa: PLC0415
    from bridge.observe.logs import configure  # noqa: PLC0415

    configure("error" if wishes["chaos"] else "warning", "console")  # broken connections are what is to be seen
    # Kafka's client tells of every connection that the embedded Kafka closes at its end.
    logging.getLogger("bridge.kafka.librdkafka").setLevel(logging.CRITICAL)
    logging.getLogger("bridge.demo.consumer").setLevel(logging.CRITICAL)
    logging.getLogger("bridge.http").setLevel(logging.ERROR)  # the screen itself says where it listens
    return Scenario(Wishes(**wishes), screen, asked_to_end).run()


def _end_now(message: str) -> NoReturn:
    """End without waiting: a thread of the bridge may be in the middle of something."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
    os._exit(EXIT_FATAL)


def _document(verdict: Verdict) -> dict[str, Any]:
    return {
        **_numbers(verdict.total),
        "sessions": {session: _numbers(tally) for session, tally in verdict.sessions.items()},
    }


def _numbers(tally: Tally) -> dict[str, int]:
    return {
        "sent": tally.sent,
        "arrived": tally.arrived,
        "lost": tally.lost,
        "repeated": tally.repeated,
        "altered": tally.foreign,
        "out_of_order": tally.misplaced,
    }
