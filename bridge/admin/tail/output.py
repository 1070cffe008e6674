"""The three forms in which ``mix-bridge tail`` prints records, and the lines of tail and the demo on a terminal."""

from __future__ import annotations

import json
import os
import re
import select
from collections.abc import Sequence
from io import TextIOWrapper
from typing import NamedTuple, TextIO

from rich.console import Console
from rich.text import Text

from bridge.admin.tail.lines import Line, LineBuilder, printable
from bridge.clock import rfc3339
from bridge.consumer import Event
from bridge.core.records.json_text import json_violation
from bridge.core.terminal_text import shortened, visible_bytes
from bridge.kafka.reader import StoredRecord

_WIDE = 110
"""Columns from which on event types are written in full."""
LONGEST_NAME = 9
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
        kind = line.event
        if len(kind) > kind_width:  # keep both ends, which differ most: ``tool_use_…g_complete``
            end = (kind_width - 1) // 2
            kind = f"{kind[: kind_width - 1 - end]}…{kind[-end:]}"
        text.append(f"{kind:<{kind_width}} ", DIM)
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


_JOIN_WAIT = 0.4
"""Seconds that pieces of one text wait for more: with the wait for Kafka, less than a second until they are shown."""
_MOST_LINES = 50
"""Lines per update on a terminal: nobody reads 500 a second, and drawing them needs more CPU than all the rest."""
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\xa0\xad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ud800-\udfff]")
"""Characters that act on a terminal or hide. In JSON they stand inside strings only, where an escape means the same."""
_FIELDS = (
    *("topic", "partition", "offset", "server", "session", "type"),
    *("epoch", "number", "sequence", "id", "time", "sse_id", "replayed"),
)
"""Of an event, in the order of a JSON line."""


class Selected(NamedTuple):
    """A record to print, with its event."""

    record: StoredRecord
    event: Event


class Output:
    """Where the records go. Thread rule: one thread."""

    may_skip = False
    """Whether records may be left out when they come faster than they can be printed."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self.is_terminal = out.isatty()
        """There, lines and a bar would overwrite each other."""

    def write(self, found: Sequence[Selected], now: float) -> int:
        """Print these records, and what has waited long enough. Returns how many events were not shown."""
        raise NotImplementedError

    def finish(self) -> None:
        """Print what still waits for more, if an output waits."""


class TextOutput(Output):
    """Lines for people: pieces of one text joined; on a terminal in colours and cut to its width."""

    may_skip = True

    def __init__(self, out: TextIO, *, colours: bool, is_live: bool) -> None:
        """``is_live``: show only the newest lines of a burst."""
        super().__init__(out)
        self._most_lines = _MOST_LINES if is_live and self.is_terminal else None
        self._printer = LinePrinter(out, colours=colours, plain_width=0)
        self._lines = LineBuilder(_JOIN_WAIT)

    def write(self, found: Sequence[Selected], now: float) -> int:
        """Print the lines that are complete."""
        lines = [line for each in found for line in self._lines.add(each.event, now)]
        lines += self._lines.due(now)
        shown = lines if self._most_lines is None else lines[-self._most_lines :]
        self._show(shown)
        return sum(line.events for line in lines[: len(lines) - len(shown)])

    def finish(self) -> None:
        """Print the unfinished lines."""
        self._show(list(self._lines.rest()))

    def _show(self, lines: Sequence[Line]) -> None:
        if self.is_terminal:
            self._printer.show(lines, times=True)
            if self._printer.is_gone:
                raise BrokenPipeError
        elif lines:
            self._out.write("".join(f"{plain(line)}\n" for line in lines))
            self._out.flush()


class JsonOutput(Output):
    """JSON Lines, for programs: nothing is left out."""

    def __init__(self, out: TextIO) -> None:
        if isinstance(out, TextIOWrapper):
            out.reconfigure(encoding="utf-8")  # RFC 8259, section 8.1, in any locale
        super().__init__(out)

    def write(self, found: Sequence[Selected], now: float) -> int:  # noqa: ARG002 - it waits for nothing
        """Print a line for each record."""
        if found:
            self._out.write("".join(f"{json_line(each.event)}\n" for each in found))
            self._out.flush()
        return 0


def json_line(event: Event) -> str:
    """Return the fields of an event, and its data with digits and order unchanged; data that is no JSON as ``text``."""
    fields = {name: getattr(event, name) for name in _FIELDS}
    fields["time"] = rfc3339(round(event.time.timestamp() * 1000))
    if event.dead_letter is not None:
        fields |= {"dead_letter": event.dead_letter, "error": event.error}
    text = event.data.decode("utf-8", "replace")
    if json_violation(text) is not None:
        line = json.dumps(fields | {"text": text}, ensure_ascii=False)
    else:
        # Line ends in JSON are whitespace between its parts.
        one_line = text.strip(" \t\r\n").replace("\r", " ").replace("\n", " ").replace("\t", " ")
        line = f'{json.dumps(fields, ensure_ascii=False)[:-1]}, "data": {one_line}}}'
    return _INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


class RawOutput(Output):
    """The values of the records, byte for byte, each with a line end; on a terminal with control characters visible."""

    def write(self, found: Sequence[Selected], now: float) -> int:  # noqa: ARG002 - it waits for nothing
        """Print the value of each record."""
        values = [each.record.value or b"" for each in found]
        if self.is_terminal:
            self._out.writelines(f"{visible_bytes(value)}\n" for value in values)
        else:
            self._out.buffer.write(b"".join(value + b"\n" for value in values))
        self._out.flush()
        return 0


def is_reader_gone(out: TextIO) -> bool:
    """Whether nobody reads the output any more, also while there is nothing to print (``| head``)."""
    poll = select.poll()
    poll.register(out.fileno(), 0)  # errors are always reported
    return any(event & select.POLLERR for _, event in poll.poll(0))
