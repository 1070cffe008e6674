"""Prints lines of events: in colours and cut to the screen on a terminal, plain elsewhere. For tail and the demo."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import TextIOWrapper
from typing import TextIO

from rich.console import Console
from rich.text import Text

from bridge.admin.tail.lines import Line, printable
from bridge.core.terminal_text import shortened

_WIDE = 110
"""Columns from which on event types are written in full."""
LONGEST_NAME = 9
"""Characters of a short session name."""
DIM = "bright_black"
_SESSION_COLOURS = (
    *("cyan", "magenta", "green", "yellow", "blue"),
    *("dark_orange", "medium_purple1", "turquoise2", "hot_pink"),
)


class _Printer(Console):
    """A console that goes quiet when its reader ends (``| head``), instead of ending the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


class LinePrinter:
    """Thread rule: one thread."""

    def __init__(self, out: TextIO, *, colours: bool, plain_width: int) -> None:
        """``plain_width``: columns of a line where the width of the reader's screen is unknown."""
        if isinstance(out, TextIOWrapper):
            out.reconfigure(errors="backslashreplace")  # the output's encoding may not have the agents' characters
        is_terminal = out.isatty()
        self.console: Console = _Printer(
            file=out,
            force_terminal=is_terminal,
            color_system="auto" if colours and is_terminal else None,
            width=None if is_terminal else plain_width,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._styles: dict[str, str] = {}

    @property
    def is_gone(self) -> bool:
        """Whether nobody reads the output any more."""
        return self.console.quiet

    def print(self, *parts: str | tuple[str, str]) -> None:
        """Print one line of texts, some of them with a style."""
        self.console.print(Text.assemble(*parts))

    def note(self, text: str) -> None:
        """Print a note about the command itself."""
        self.print((f"— {text}", DIM))

    def show(self, lines: Sequence[Line], *, times: bool = False) -> None:
        """Print lines, each cut to the width of the screen."""
        texts = [self._line(line, times=times) for line in lines]
        if texts:
            self.console.print(Text("\n").join(texts))

    def _line(self, line: Line, *, times: bool) -> Text:
        width = self.console.width
        kind_width = 37 if width >= _WIDE else 21
        session = line.session.partition("/")[2]
        text = Text(no_wrap=True, end="")
        if times and line.time is not None:
            text.append(f"{line.time:%H:%M:%S} ", DIM)
        text.append(f"{short(session):<{LONGEST_NAME}} ", self.style_of(session))
        text.append(f"{_cut_in_the_middle(line.event, kind_width):<{kind_width}} ", DIM)
        if line.is_nested:
            text.append("↳ ", DIM)
        text.append(line.text, line.style)
        count = f" x{line.events}" if line.events > 1 else ""
        text.truncate(width - 1 - len(count), overflow="ellipsis")
        return text.append(count, DIM)

    def style_of(self, session: str) -> str:
        """Return the colour of a session."""
        return self._styles.setdefault(session, f"bold {_SESSION_COLOURS[len(self._styles) % len(_SESSION_COLOURS)]}")


def plain(line: Line) -> str:
    """Return a line for a file or a pipe: whole names, so that they can be searched, and nothing cut."""
    time = "" if line.time is None else f"{line.time:%Y-%m-%dT%H:%M:%SZ} "
    nested = "↳ " if line.is_nested else ""
    count = f" x{line.events}" if line.events > 1 else ""
    return f"{time}{printable(line.session)} {line.event} {nested}{line.text}{count}"


def short(session: str) -> str:
    """Return a session's name for a line: all of it if it is short, otherwise its beginning."""
    return shortened(printable(session), LONGEST_NAME)


def _cut_in_the_middle(name: str, width: int) -> str:
    """Keep both ends of a long name, which differ most: ``tool_use_…g_complete``."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[-tail:]}"
