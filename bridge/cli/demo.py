"""``mix-bridge demo``: the whole system on this machine, without installing anything."""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli import exit_at_once, exit_if_unread, print_error
from bridge.cli.command import SettingsOptions, for_option, print_json
from bridge.errors import EXIT_FATAL, EXIT_FOUND, EXIT_OK, BridgeError

if TYPE_CHECKING:
    from bridge.demo.screen import Screen
    from bridge.demo.summary import Counts, Summary

_Signals = queue.SimpleQueue[int]
_SCREEN_TIMEOUT = 10
"""Seconds from a signal to the end of the process if the signal is not noticed: drawing normally takes milliseconds."""


def demo(
    *,
    context: typer.Context,
    seconds: Annotated[float | None, for_option("End after this time, for example 10s or 2m.")] = None,
    sessions: Annotated[int, typer.Option(min=1, max=200, help="Agent sessions at the start.")] = 4,
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="Events per second of each session.")] = 10.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same events.")] = 1,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Inject faults: broken connections, server restarts, malformed events.")
    ] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours, as with NO_COLOR.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON document; everything else goes to stderr.")
    ] = False,
) -> None:
    """Run the whole system on this machine: embedded Kafka, simulated Mix server, bridge, printing consumer.

    Reads no settings, no environment and no file. At the end it compares what arrived with what was sent: exit code 1
    if anything was lost.
    """
    if isinstance(context.obj, SettingsOptions) and context.obj != SettingsOptions():
        raise typer.BadParameter("this command reads no settings; it has only its own options")
    signals = _signals()
    from bridge.demo.screen import Screen

    try:
        out, colours = sys.stderr if as_json else sys.stdout, not no_color and "NO_COLOR" not in os.environ
        with Screen(out, colours=colours) as screen:
            summary = _run(screen, signals, seconds=seconds, sessions=sessions, rate=rate, seed=seed, chaos=chaos)
    except BridgeError as error:
        print_error(str(error))
        exit_at_once(error.exit_code)  # without stopping the embedded Kafka and the bridge, which still use each other
    if as_json:
        each = {session: _numbers(counts) for session, counts in summary.sessions.items()}
        print_json({**_numbers(summary.total), "sessions": each})
    raise typer.Exit(EXIT_OK if summary.total.is_correct else EXIT_FOUND)


def _signals() -> _Signals:
    """A queue of the signals. If nothing takes them from it, because nobody reads the screen, the process ends."""
    signals: _Signals = queue.SimpleQueue()

    def received(number: int, _: object) -> None:
        signals.put(number)
        exit_if_unread(EXIT_FATAL, signals.empty, _SCREEN_TIMEOUT)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, received)
    return signals


def _run(screen: Screen, signals: _Signals, **options: Any) -> Summary:  # noqa: ANN401 - the fields of DemoOptions
    screen.title("mix-bridge demo", "starting Kafka, a Mix server, the bridge and a consumer")
    # These imports are slow; the title is shown before them.
    from bridge.demo.scenario import Scenario
    from bridge.demo.system import DemoOptions
    from bridge.observe.logs import configure

    configure("error" if options["chaos"] else "warning", "console")  # chaos breaks connections on purpose
    # Kafka's client logs every connection that the embedded Kafka closes when it stops.
    logging.getLogger("bridge.kafka.librdkafka").setLevel(logging.CRITICAL)
    logging.getLogger("bridge.demo.consumer").setLevel(logging.CRITICAL)
    logging.getLogger("bridge.http").setLevel(logging.ERROR)  # the screen shows the address
    return Scenario(DemoOptions(**options), screen, signals).run()


def _numbers(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in ("sent", "arrived", "lost", "repeated", "altered", "out_of_order")}
