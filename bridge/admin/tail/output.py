"""The three forms in which ``mix-bridge tail`` prints records, each with one way to write and to end."""

from __future__ import annotations

import select
from collections.abc import Sequence
from io import TextIOWrapper
from typing import NamedTuple, Protocol, TextIO

from bridge.admin.tail.json_lines import json_line
from bridge.admin.tail.line_printer import LinePrinter, plain
from bridge.admin.tail.lines import Line, LineBuilder
from bridge.consumer import Event
from bridge.core.terminal_text import visible_bytes
from bridge.kafka.reader import StoredRecord

_JOIN_WAIT = 0.4
"""Seconds that pieces of one text wait for more: with the wait for Kafka, less than a second until they are shown."""
_MOST_LINES = 50
"""Lines per update on a terminal: nobody reads 500 a second, and drawing them needs more CPU than all the rest."""


class Selected(NamedTuple):
    """A record to print, with its event."""

    record: StoredRecord
    event: Event


class Output(Protocol):
    """Where the records go. Thread rule: one thread."""

    may_skip: bool
    """Whether records may be left out when they come faster than they can be printed."""
    is_terminal: bool
    """Whether it writes to a terminal: there, lines and a bar would overwrite each other."""

    def write(self, found: Sequence[Selected], now: float) -> int:
        """Print these records, and what has waited long enough. Returns how many events were not shown."""

    def finish(self) -> None:
        """Print what still waits for more."""


class TextOutput:
    """Lines for people: pieces of one text joined; on a terminal in colours and cut to its width."""

    may_skip = True

    def __init__(self, out: TextIO, *, colours: bool, is_live: bool) -> None:
        """``is_live``: show only the newest lines of a burst."""
        self._out = out
        self.is_terminal = out.isatty()
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
            self._out.write("".join(f"{line}\n" for line in plain(lines)))
            self._out.flush()


class JsonOutput:
    """JSON Lines, for programs: nothing is left out."""

    may_skip = False

    def __init__(self, out: TextIO) -> None:
        if isinstance(out, TextIOWrapper):
            out.reconfigure(encoding="utf-8")  # RFC 8259, section 8.1, in any locale
        self._out = out
        self.is_terminal = out.isatty()

    def write(self, found: Sequence[Selected], now: float) -> int:  # noqa: ARG002 - it waits for nothing
        """Print a line for each record."""
        if found:
            self._out.write("".join(f"{json_line(each.event)}\n" for each in found))
            self._out.flush()
        return 0

    def finish(self) -> None:
        """Every record is printed already."""


class RawOutput:
    """The values of the records, byte for byte, each with a line end; on a terminal with control characters visible."""

    may_skip = False

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self.is_terminal = out.isatty()

    def write(self, found: Sequence[Selected], now: float) -> int:  # noqa: ARG002 - it waits for nothing
        """Print the value of each record."""
        values = [each.record.value or b"" for each in found]
        if self.is_terminal:
            self._out.writelines(f"{visible_bytes(value)}\n" for value in values)
        else:
            self._out.buffer.write(b"".join(value + b"\n" for value in values))
        self._out.flush()
        return 0

    def finish(self) -> None:
        """Every record is printed already."""


def is_reader_gone(out: TextIO) -> bool:
    """Whether nobody reads the output any more, also while there is nothing to print (``| head``)."""
    poll = select.poll()
    poll.register(out.fileno(), 0)  # errors are always reported
    return any(event & select.POLLERR for _, event in poll.poll(0))
