"""The help of commands: options in sections, an example, and the exit codes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from typer import Typer, echo
from typer.core import TyperCommand, TyperGroup

from bridge.errors import EXIT_BUG, EXIT_FATAL, EXIT_FOUND, EXIT_OK, EXIT_SETTINGS, EXIT_UNREACHABLE, EXIT_USAGE

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter

SETTINGS_PANEL = "Settings options"
COMMON_CODES: Mapping[int, str] = {
    EXIT_OK: "success",
    EXIT_FOUND: "the command found a problem, or refused to do it",
    EXIT_USAGE: "wrong use of the command line",
    EXIT_UNREACHABLE: "Kafka cannot be reached",
    EXIT_BUG: "a bug; please report it",
    EXIT_FATAL: "a fatal error that a restart may solve",
    EXIT_SETTINGS: "wrong settings, or a topic that does not fit them",
}
WITH_KAFKA = (EXIT_UNREACHABLE, EXIT_FATAL, EXIT_SETTINGS)
"""The codes of commands that read Kafka, besides their own."""


class Command(TyperCommand):
    """A command whose help ends with an example and the exit codes."""

    examples: ClassVar[tuple[str, ...]] = ()
    exit_codes: ClassVar[Mapping[int, str]] = {}

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the arguments and options, the settings options last."""
        _write_sections(self, ctx, formatter)

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:  # noqa: ARG002 - of the base class
        """Write the examples and the exit codes."""
        if self.examples:
            with formatter.section("Example" if len(self.examples) == 1 else "Examples"):
                for example in self.examples:
                    formatter.write(f"{' ' * formatter.current_indent}{example}\n")
        if self.exit_codes:
            with formatter.section("Exit codes"):
                formatter.write_dl([(str(code), meaning) for code, meaning in self.exit_codes.items()])


class Group(TyperGroup):
    """A group whose help lists its commands before the options."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Without a command, print the help to stdout: typer prints it to stderr."""
        if not args and self.no_args_is_help and not ctx.resilient_parsing:  # completion parses too
            echo(ctx.get_help())
            ctx.exit(EXIT_USAGE)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the commands, then the options, the settings options last."""
        self.format_commands(ctx, formatter)
        _write_sections(self, ctx, formatter)


def group(help_text: str) -> Typer:
    """Return a group of commands that prints its help when it is called without one of them."""
    return Typer(cls=Group, help=help_text, no_args_is_help=True)


def described(examples: tuple[str, ...], codes: Mapping[int, str], more: tuple[int, ...]) -> type[Command]:
    """Return the class of a command with these examples and exit codes; ``more``: codes with their common meaning."""
    meanings = {code: COMMON_CODES[code] for code in (EXIT_OK, EXIT_USAGE, EXIT_BUG, *more)} | dict(codes)
    return type("Command", (Command,), {"examples": examples, "exit_codes": dict(sorted(meanings.items()))})


def sections(command: TyperCommand | TyperGroup, ctx: Context) -> dict[str, list[tuple[str, str]]]:
    """Return the visible parameters of a command with their help, by section."""
    found: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": [], SETTINGS_PANEL: []}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None:
            default = "Arguments" if parameter.param_type_name == "argument" else "Options"
            # Without the Python types that typer adds
            name = re.sub(r"<(int|float)( range)?>$", "N", record[0])
            name = re.sub(r" <(list\[)?(str|Any)\]?>$", "", name)
            found[getattr(parameter, "rich_help_panel", None) or default].append((name, record[1]))
    return {title: rows for title, rows in found.items() if rows}


def _write_sections(command: TyperCommand | TyperGroup, ctx: Context, formatter: HelpFormatter) -> None:
    for title, rows in sections(command, ctx).items():
        with formatter.section(title):
            formatter.write_dl(rows)
