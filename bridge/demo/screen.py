"""The demo's screen: colours and a live status line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from io import TextIOWrapper
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from bridge.demo.lines import Line, printable
from bridge.demo.summary import Counts, Summary

_PLAIN_WIDTH = 160
"""Columns of a line where the width of the reader's screen is unknown."""
_WIDE = 110
"""Columns from which on event types are written in full."""
_LONGEST_NAME = 9
_MOST_SESSIONS = 12
"""Sessions listed one by one at the end."""
_DIM = "bright_black"
_SESSION_COLOURS = (
    *("cyan", "magenta", "green", "yellow", "blue"),
    *("dark_orange", "medium_purple1", "turquoise2", "hot_pink"),
)
_ROOM_FOR_ECHO = 4
"""Columns left free: the terminal writes ``^C`` after the status line, and a line that wraps cannot be erased."""
_BARS = "▁▂▃▄▅▆▇█"


class _Printer(Console):
    """A console that goes quiet when its reader ends (``| head``), instead of ending the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


class Screen:
    """Thread rule: one thread. Others may write to ``sys.stderr``: on a terminal that appears above the status line.

    As a context manager it restores the terminal.
    """

    def __init__(self, out: TextIO, *, colours: bool) -> None:
        if isinstance(out, TextIOWrapper):
            out.reconfigure(errors="backslashreplace")  # the output's encoding may not have the agents' characters
        is_terminal = out.isatty()
        self._console = _Printer(
            file=out,
            force_terminal=is_terminal,
            color_system="auto" if colours and is_terminal else None,
            width=None if is_terminal else _PLAIN_WIDTH,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self.is_live = is_terminal and not self._console.is_dumb_terminal
        """Whether the status line is redrawn in place."""
        self._live = Live(
            Text(""),
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=sys.stderr is not None and sys.stderr.isatty(),
        )
        self._styles: dict[str, str] = {}

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
        """Whether nobody reads the output any more."""
        return self._console.quiet

    def _print(self, *parts: str | tuple[str, str]) -> None:
        self._console.print(Text.assemble(*parts))

    # --- while the demo runs

    def title(self, title: str, subtitle: str) -> None:
        """Show the title."""
        self._print((title, "bold"), "  ", subtitle)

    def component(self, name: str, address: str, remark: str = "") -> None:
        """Show a component that has started, and its address."""
        self._print(f"  {name:<11}", (address, "bold"), "  ", (remark, _DIM))

    def note(self, text: str) -> None:
        """Show a note about the demo itself."""
        self._print((f"— {text}", _DIM))

    def show(self, lines: Iterable[Line]) -> None:
        """Show arrived events, each cut to the width of the screen."""
        texts = [self._line(line) for line in lines]
        if texts:
            self._console.print(Text("\n").join(texts))

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

    def _line(self, line: Line) -> Text:
        width = self._console.width
        kind_width = 37 if width >= _WIDE else 21
        text = Text(no_wrap=True, end="")
        text.append(f"{short(line.session):<{_LONGEST_NAME}} ", self._style_of(line.session))
        text.append(f"{_cut_in_the_middle(line.event, kind_width):<{kind_width}} ", _DIM)
        if line.is_nested:
            text.append("↳ ", _DIM)
        text.append(line.text, line.style)
        count = f" x{line.events}" if line.events > 1 else ""
        text.truncate(width - 1 - len(count), overflow="ellipsis")
        return text.append(count, _DIM)

    def _style_of(self, session: str) -> str:
        return self._styles.setdefault(session, f"bold {_SESSION_COLOURS[len(self._styles) % len(_SESSION_COLOURS)]}")

    # --- the summary

    def summary(self, summary: Summary, remarks: Mapping[str, str]) -> None:
        """Show the result; ``remarks`` are about single sessions."""
        self._print()
        listed = list(summary.sessions.items())[:_MOST_SESSIONS]
        for session, counts in listed:
            self._session(session, counts, remarks.get(session, ""))
        if (more := len(summary.sessions) - len(listed)) > 0:
            self._print((f"  and {more} more sessions", _DIM))
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
        name = (f"  {short(session):<{_LONGEST_NAME}}", self._style_of(session))
        self._print(name, f" {counts.arrived} of {counts.sent} events", (listed, "red"), (f"  {remark}".rstrip(), _DIM))

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
            self._print((f"  {name:<9} {count:>{digits}}", style.strip()), (f"  {explanation}".rstrip(), _DIM))


def short(session: str) -> str:
    """Return a session's name for a line: all of it if it is short, otherwise its beginning."""
    name = printable(session)
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _cut_in_the_middle(name: str, width: int) -> str:
    """Keep both ends of a long name, which differ most: ``tool_use_…g_complete``."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[-tail:]}"


def _bars(counts: Sequence[int]) -> str:
    highest = max(counts, default=0)
    return "".join(_BARS[count * (len(_BARS) - 1) // highest] if highest else " " for count in counts)
