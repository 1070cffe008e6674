"""The demo's screen: colours and a live status line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Self, TextIO

from rich.live import Live
from rich.text import Text

from bridge.admin.tail.lines import Line
from bridge.admin.tail.output import DIM, LONGEST_NAME, LinePrinter, short
from bridge.demo.summary import Counts, Summary

_PLAIN_WIDTH = 160
"""Columns of a line where the width of the reader's screen is unknown."""
_MOST_SESSIONS = 12
"""Sessions listed one by one at the end."""
_ROOM_FOR_ECHO = 4
"""Columns left free: the terminal writes ``^C`` after the status line, and a line that wraps cannot be erased."""
_BARS = "▁▂▃▄▅▆▇█"


class Screen:
    """Thread rule: one thread. Others may write to ``sys.stderr``: on a terminal that appears above the status line.

    As a context manager it restores the terminal.
    """

    def __init__(self, out: TextIO, *, colours: bool) -> None:
        self._printer = LinePrinter(out, colours=colours, plain_width=_PLAIN_WIDTH)
        self._console = self._printer.console
        self._print = self._printer.print
        self.is_live = out.isatty() and not self._console.is_dumb_terminal
        """Whether the status line is redrawn in place."""
        self._live = Live(
            Text(""),
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=sys.stderr is not None and sys.stderr.isatty(),
        )

    def __enter__(self) -> Self:
        if self.is_live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Erase the status line and restore the terminal. Can be called twice."""
        if self.is_live:
            self._live.stop()

    @property
    def is_gone(self) -> bool:
        return self._printer.is_gone

    # --- while the demo runs

    def title(self, title: str, subtitle: str) -> None:
        self._print((title, "bold"), "  ", subtitle)

    def component(self, name: str, address: str, remark: str = "") -> None:
        """Show a component that has started, and its address."""
        self._print(f"  {name:<11}", (address, "bold"), "  ", (remark, DIM))

    def note(self, text: str) -> None:
        self._printer.note(text)

    def show(self, lines: Iterable[Line]) -> None:
        self._printer.show(list(lines))

    def status(self, status: str, per_second: Sequence[int]) -> None:
        """Show the status: redrawn in place with bars for the events of each second, or as a note."""
        if not self.is_live:
            self.note(status)
            return
        budget = self._console.width - _ROOM_FOR_ECHO
        text = Text(f" {status} ", "reverse", no_wrap=True)
        if (bars := min(len(per_second), budget - text.cell_len - 1)) > 0:
            text.append(f"{_bars(per_second[-bars:])} ")
        text.truncate(budget, overflow="ellipsis", pad=True)
        self._live.update(text, refresh=True)

    # --- the summary

    def summary(self, summary: Summary, remarks: Mapping[str, str]) -> None:
        """Show the result; ``remarks`` are about single sessions."""
        self._print()
        listed = list(summary.sessions.items())[:_MOST_SESSIONS]
        for session, counts in listed:
            self._session(session, counts, remarks.get(session, ""))
        if (more := len(summary.sessions) - len(listed)) > 0:
            self._print((f"  and {more} more sessions", DIM))
        self._print()
        self._total(summary.total)
        self._print()
        if summary.total.is_correct:
            self._print(("✓ nothing lost: every event arrived as it was sent, and in order", "bold green"))
        else:
            self._print(("✗ what arrived is not what was sent", "bold red"))

    def _session(self, session: str, counts: Counts, remark: str) -> None:
        problems = {
            "lost": counts.lost,
            "repeated": counts.repeated,
            "altered": counts.altered,
            "out of order": counts.out_of_order,
        }
        listed = "".join(f", {count} {name}" for name, count in problems.items() if count)
        name = (f"  {short(session):<{LONGEST_NAME}}", self._printer.style_of(session))
        self._print(name, f" {counts.arrived} of {counts.sent} events", (listed, "red"), (f"  {remark}".rstrip(), DIM))

    def _total(self, total: Counts) -> None:
        rows = [
            ("sent", total.sent, "according to the server's own journal", ""),
            ("arrived", total.arrived, "at an independent consumer, compared byte for byte", ""),
            ("lost", total.lost, "", "red"),
            ("repeated", total.repeated, "", ""),
        ]
        if total.altered:
            rows.append(("altered", total.altered, "records that the server never sent like this", "red"))
        if total.out_of_order:
            rows.append(("disorder", total.out_of_order, "events that arrived after a later one", "red"))
        digits = len(str(max(total.sent, total.arrived + total.repeated)))
        for name, count, explanation, colour in rows:
            style = f"bold {colour if count else ''}"
            self._print((f"  {name:<9} {count:>{digits}}", style.strip()), (f"  {explanation}".rstrip(), DIM))


def _bars(counts: Sequence[int]) -> str:
    highest = max(counts, default=0)
    return "".join(_BARS[count * (len(_BARS) - 1) // highest] if highest else " " for count in counts)
