"""The tables of the commands: rich tables without borders."""

from __future__ import annotations

from collections.abc import Collection

from rich.table import Table


def table(*headings: str, right: Collection[str] = (), fold: Collection[str] = ()) -> Table:
    """Return a table without rows. ``right``: columns of numbers; ``fold``: columns that a narrow terminal wraps.

    A cell that is a string is printed literally by `bridge.cli.output`; text from other programs must be made visible
    first (`bridge.core.terminal_text`).
    """
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bright_black")
    for heading in headings:
        is_folded = heading in fold
        made.add_column(
            heading,
            justify="right" if heading in right else "left",
            no_wrap=not is_folded,
            overflow="fold" if is_folded else "ellipsis",
        )
    return made
