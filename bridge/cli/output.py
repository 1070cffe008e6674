"""Prints the results of commands to stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_UNLIMITED = 100_000
"""Columns where stdout is not a terminal: each row of a table stays on one line, for `grep`."""


def print_json(document: dict[str, Any]) -> None:
    """Print the one document of ``--json``."""
    typer.echo(json.dumps(document, indent=2))


def console() -> Console:
    """Return a console for stdout that prints every string literally: no markup, no emoji codes, no highlighting."""
    from rich.console import Console

    made = Console(file=sys.stdout, markup=False, emoji=False, highlight=False)
    if not made.is_terminal:
        made.width = _UNLIMITED
    return made


def print_all(parts: Iterable[RenderableType], to: Console | None = None) -> None:
    """Print tables, and lines as long as they are. Without a terminal, lines have no blanks at their ends."""
    from rich.text import Text

    out = console() if to is None else to
    if out.is_terminal:
        for part in parts:
            out.print(part, soft_wrap=isinstance(part, str | Text))
        return
    with out.capture() as captured:
        for part in parts:
            out.print(part, soft_wrap=isinstance(part, str | Text))
    typer.echo("\n".join(line.rstrip(" ") for line in captured.get().splitlines()))
