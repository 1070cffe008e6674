"""Times, sizes, counts and tables as the commands print them, and the patterns that they accept. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def matches(text: str, pattern: str | None) -> bool:
    """Whether the text is equal to the pattern or matches it (`fnmatch`); without a pattern, always."""
    return pattern is None or text == pattern or fnmatchcase(text, pattern)


def timestamp(unix_ms: int) -> str:
    """``2026-01-31 23:59:59``, in UTC; a record may be without a time."""
    if unix_ms < 0:
        return "at an unknown time"
    return f"{datetime.fromtimestamp(unix_ms // 1000, UTC):%Y-%m-%d %H:%M:%S}"


def size(count: int) -> str:
    """A number of bytes in its largest unit: ``155 B``, ``19.1 MiB``."""
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if amount < 1024:  # noqa: PLR2004 - the factor between the units
            break
        amount, unit = amount / 1024, larger
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def age(milliseconds: int) -> str:
    """A duration in its largest unit: ``12s``, ``5m``, ``3h``, ``9d``."""
    seconds = max(0, milliseconds // 1000)
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def counted(count: int, noun: str) -> str:
    """``1 session``, ``2 sessions``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def aligned(pairs: Sequence[tuple[str, str]], indent: int = 2) -> list[str]:
    """Lines of a name and a value, the values in one column."""
    width = max((len(name) for name, _ in pairs), default=0)
    return [f"{' ' * indent}{name:<{width}}  {value}" for name, value in pairs]


def table(*headings: str, right: Collection[str] = (), fold: Collection[str] = ()) -> Table:
    """Return a table without borders and rows. ``right``: columns of numbers; ``fold``: those that wrap.

    A cell that is a string is printed literally by `bridge.cli.command`; text from other programs must be made visible
    first (`bridge.core.terminal_text`).
    """
    from rich.table import Table  # noqa: PLC0415 - slow to import, and not every command prints a table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bright_black")
    for heading in headings:
        wraps = heading in fold
        made.add_column(
            heading,
            justify="right" if heading in right else "left",
            no_wrap=not wraps,
            overflow="fold" if wraps else "ellipsis",
        )
    return made
