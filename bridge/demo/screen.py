"""What a person sees of the demo: lines in colour and a live status line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from bridge.demo.event_text import Tone, printable
from bridge.demo.lines import Line
from bridge.demo.summary import Tally, Verdict

_PLAIN_WIDTH = 160
"""Columns of a line where nobody knows how wide the reader's screen is."""
_WIDE = 110
"""Columns from which on event types are written out."""
_LONGEST_NAME = 9
_MOST_SESSIONS = 12
"""Sessions told one by one at the end."""

_NAMES = ("cyan", "magenta", "green", "yellow", "blue", "dark_orange", "medium_purple1", "turquoise2", "hot_pink")
_TONES: Mapping[Tone, str] = {
    Tone.USER: "bold",
    Tone.SPEECH: "default",
    Tone.THOUGHT: "italic bright_black",
    Tone.TOOL: "cyan",
    Tone.QUIET: "bright_black",
    Tone.GOOD: "green",
    Tone.BAD: "red",
    Tone.ASKING: "yellow",
    Tone.NOTICE: "bright_yellow",
    Tone.NEWS: "bold magenta",
    Tone.PLAIN: "default",
}
_RATE_SECONDS = 3
"""A rate over less jumps about, over more it lags behind what is seen."""
_ROOM_FOR_ECHO = 4
"""Columns left free: the terminal writes ``^C`` behind the status line, and one that wraps cannot be taken away."""
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Status:
    """The running count."""

    elapsed: float
    per_second: Sequence[int]
    """Events of the last seconds, the newest last."""
    events: int
    behind: int
    """Sent, and not yet arrived."""
    sessions: int
    doing: str
    """What is going on, or how to end it."""


class _Printer(Console):
    """A console that falls silent when its reader goes away (``| head``), instead of ending the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


class Screen:
    """Thread rule: one thread. Others may write to ``sys.stderr``: on a terminal that comes out above the status line.

    As a context manager it gives the terminal back as it was.
    """

    def __init__(self, out: TextIO, *, colours: bool) -> None:
        if isinstance(out, TextIOWrapper):
            out.reconfigure(errors="backslashreplace")  # agents say what an output of few characters cannot hold
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
        """Whether there is a status line that is drawn over."""
        self._status = Text("")
        self._live = Live(
            self._status,
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the status line away and give the terminal back. Can be called twice."""
        if self.is_live:
            self._live.stop()

    @property
    def is_gone(self) -> bool:
        """Nobody reads any more."""
        return self._console.quiet

    # --- the beginning

    def title(self, title: str, subtitle: str) -> None:
        """What this is."""
        self._console.print(Text.assemble((title, "bold"), "  ", (subtitle, "default")))

    def fact(self, name: str, text: str, remark: str = "") -> None:
        """Something that is there now, and where."""
        self._console.print(Text.assemble(f"  {name:<11}", (text, "bold"), "  ", (remark, "bright_black")))

    def note(self, text: str) -> None:
        """A word about the demo itself."""
        self._console.print(Text(f"— {text}", "bright_black"))

    # --- the flow

    def show(self, lines: Iterable[Line]) -> None:
        """Lines as they arrive; what is too long for the screen is cut."""
        texts = [self._line(line) for line in lines]
        if texts:
            self._console.print(Text("\n").join(texts))

    def count(self, status: Status) -> None:
        """The running count: drawn over on a terminal, elsewhere a line."""
        if self.is_live:
            self._live.update(_status_line(status, self._console.width), refresh=True)
        else:
            self.note(_counts(status))

    def _line(self, line: Line) -> Text:
        width = self._console.width
        wide = width >= _WIDE
        kind = _cut_in_the_middle(line.event, 37 if wide else 21)
        text = Text(no_wrap=True, end="")
        text.append(f"{short(line.session):<{_LONGEST_NAME}} ", self._style_of(line.session))
        text.append(f"{kind:<{37 if wide else 21}} ", "bright_black")
        if line.is_nested:
            text.append("↳ ", "bright_black")
        text.append(line.text, _TONES[line.tone])
        times = f" x{line.events}" if line.events > 1 else ""
        text.truncate(width - 1 - len(times), overflow="ellipsis")
        return text.append(times, "bright_black")

    def _style_of(self, session: str) -> str:
        return self._styles.setdefault(session, f"bold {_NAMES[len(self._styles) % len(_NAMES)]}")

    # --- the end

    def summary(self, verdict: Verdict, remarks: Mapping[str, str]) -> None:
        """The outcome; ``remarks`` are words about single sessions."""
        console, total = self._console, verdict.total
        console.print()
        told = list(verdict.sessions.items())[:_MOST_SESSIONS]
        for session, tally in told:
            console.print(self._session_line(session, tally, remarks.get(session, "")))
        if len(verdict.sessions) > len(told):
            console.print(Text(f"  and {len(verdict.sessions) - len(told)} more sessions", "bright_black"))
        console.print()
        digits = len(str(max(total.sent, total.arrived + total.repeated)))
        for name, number, explained, is_good in _outcome(total):
            style = "bold" if is_good else "bold red"
            figure = f"  {name:<9} {number:>{digits}}"
            console.print(Text.assemble((figure, style), (f"  {explained}" if explained else "", "bright_black")))
        console.print()
        console.print(_last_word(total))

    def _session_line(self, session: str, tally: Tally, remark: str) -> Text:
        flaws = [f"{count} {name}" for name, count in _flaws(tally) if count]
        return Text.assemble(
            (f"  {short(session):<{_LONGEST_NAME}}", self._style_of(session)),
            f" {tally.arrived} of {tally.sent} events",
            (f", {', '.join(flaws)}" if flaws else "", "red"),
            (f"  {remark}" if remark else "", "bright_black"),
        )


def short(session: str) -> str:
    """The session's name for a line: all of it if it is short, else its beginning."""
    name = printable(session)
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _flaws(tally: Tally) -> tuple[tuple[str, int], ...]:
    return (
        ("lost", tally.lost),
        ("repeated", tally.repeated),
        ("altered", tally.foreign),
        ("out of order", tally.misplaced),
    )


def _outcome(total: Tally) -> list[tuple[str, int, str, bool]]:
    lines = [
        ("sent", total.sent, "by the server's own journal", True),
        ("arrived", total.arrived, "at an independent consumer, compared byte for byte", True),
        ("lost", total.lost, "", not total.lost),
        ("repeated", total.repeated, "", True),
    ]
    if total.foreign:
        lines.append(("altered", total.foreign, "records that the server never sent so", False))
    if total.misplaced:
        lines.append(("disorder", total.misplaced, "events that came behind a later one", False))
    return lines


def _last_word(total: Tally) -> Text:
    if total.is_good:
        return Text("✓ nothing lost: every event arrived as it was sent, and in order", "bold green")
    return Text("✗ what arrived is not what was sent", "bold red")


def _cut_in_the_middle(name: str, width: int) -> str:
    """Both ends of a long name tell the most: ``tool_use_…g_complete``."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[-tail:]}"


def _counts(status: Status) -> str:
    minutes, seconds = divmod(int(status.elapsed), 60)
    overlap_window = status.per_second[-_RATE_SECONDS:]
    rate = round(sum(overlap_window) / max(1, len(overlap_window)))
    parts = (
        f"{minutes:02}:{seconds:02}",
        f"{rate} events/s",
        f"{status.events} events",
        f"lag {status.behind}",
        f"{status.sessions} sessions",
        status.doing,
    )
    return " │ ".join(parts)


def _status_line(status: Status, width: int) -> Text:
    budget = width - _ROOM_FOR_ECHO
    text = Text(f" {_counts(status)} ", "reverse", no_wrap=True)
    bars = min(len(status.per_second), budget - text.cell_len - 1)
    if bars > 0:
        text.append(f"{_bars(status.per_second[-bars:])} ")
    text.truncate(budget, overflow="ellipsis", pad=True)
    return text


def _bars(counts: Sequence[int]) -> str:
    highest = max(counts, default=0)
    return "".join(_BARS[count * (len(_BARS) - 1) // highest] if highest else " " for count in counts)
