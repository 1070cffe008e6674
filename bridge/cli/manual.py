"""Writes docs/cli.md from the commands: ``python -m bridge.cli.manual > docs/cli.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

import typer.main
from typer.core import TyperGroup

from bridge.cli.app import app
from bridge.cli.help import COMMON_CODES, SETTINGS_PANEL, Command, Group, sections

_INTRODUCTION = """\
# Command line

Generated from the commands by `make docs`; do not edit.

Every command has `-h` and `--help`. `mix-bridge --version` prints the version. `python -m bridge` is the same as
`mix-bridge`. Results go to stdout, logs and errors to stderr. `--json` prints one JSON document instead of text.
"""
_SETTINGS = """\
Every command that reads settings has these options, before or after its name. Settings can also come from environment
variables, secrets files and a TOML file: see [Settings](../config/settings.md). A command with an own `--session` does
not have this one.
"""
_CODES = """\
The codes have the same meaning in every command; some commands describe them in more detail below. A command that is
interrupted with Ctrl-C ends with 130. If the reader of its output leaves (`mix-bridge verify --all | head -1`), a
command ends with 1 and without a message, because nobody has seen its result; `tail` ends with 0.
"""


def as_markdown() -> str:
    """Return the page."""
    root: Group = typer.main.get_group(app)  # type: ignore[assignment]  # of the class that the app names
    commands = dict(_commands(root, "mix-bridge"))
    lines = [_INTRODUCTION, "| command | does |", "|---|---|"]
    lines += [
        f"| [`{name}`](#{name.replace(' ', '-')}) | {(command.help or '').splitlines()[0]} |"
        for name, command in commands.items()
    ]
    lines += [
        "",
        "## Settings options",
        "",
        _SETTINGS,
        *_table("option", sections(root, typer.Context(root))[SETTINGS_PANEL]),
    ]
    lines += ["", "## Exit codes", "", _CODES, *_codes_table(COMMON_CODES)]
    for name, command in commands.items():
        lines += ["", *_section(name, command)]
    return "\n".join(lines) + "\n"


def _commands(group: TyperGroup, name: str) -> Iterator[tuple[str, Command]]:
    for each, command in group.commands.items():
        if isinstance(command, Group) and not command.hidden:
            yield from _commands(command, f"{name} {each}")
        elif isinstance(command, Command) and not command.hidden:
            yield f"{name} {each}", command


def _section(name: str, command: Command) -> list[str]:
    found = sections(command, typer.Context(command))
    has_settings = found.pop(SETTINGS_PANEL, None) is not None
    found["Options"] = [row for row in found["Options"] if "--help" not in row[0]]
    arguments = "".join(f" {argument}" for argument, _ in found.get("Arguments", ()))
    lines = [f"## {name}", "", f"`{name}{arguments} [OPTIONS]`", "", command.help or ""]
    for title, rows in found.items():
        lines += ["", *_table(title.lower().removesuffix("s"), rows)] if rows else []
    lines += ["", "Also the [settings options](#settings-options)."] if has_settings else []
    lines += ["", "```sh", *command.examples, "```", ""]
    own = {code: text for code, text in command.exit_codes.items() if text != COMMON_CODES[code]}
    lines += [*_codes_table(own), ""] if own else []
    others = ", ".join(str(code) for code in command.exit_codes if code not in own)
    return [*lines, f"{'Other exit codes' if own else 'Exit codes'}: {others} ([meaning](#exit-codes))."]


def _codes_table(codes: Mapping[int, str]) -> list[str]:
    return ["| exit code | meaning |", "|---|---|", *(f"| {code} | {text} |" for code, text in codes.items())]


def _table(heading: str, rows: Sequence[tuple[str, str]]) -> list[str]:
    names = [(name.replace("|", "\\|"), meaning) for name, meaning in rows]
    return [f"| {heading} | meaning |", "|---|---|", *(f"| `{name}` | {meaning} |" for name, meaning in names)]


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
