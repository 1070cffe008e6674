"""The help of commands, and docs/cli.md."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup
from typer.testing import CliRunner

from bridge.cli.app import app
from bridge.cli.help import Command
from bridge.cli.manual import as_markdown
from bridge.errors import EXIT_BUG, EXIT_OK, EXIT_USAGE


def commands(group: TyperGroup, *path: str) -> Iterator[tuple[tuple[str, ...], Command]]:
    """All visible commands with their names."""
    for name, each in group.commands.items():
        if isinstance(each, TyperGroup) and not each.hidden:
            yield from commands(each, *path, name)
        elif isinstance(each, Command) and not each.hidden:
            yield (*path, name), each


COMMANDS = list(commands(typer.main.get_group(app)))


def helped(*arguments: str) -> str:
    """The help of a command."""
    done = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "80"})
    assert done.exit_code == EXIT_OK
    return done.output


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_every_command_has_an_example_and_its_exit_codes(path: tuple[str, ...], command: Command) -> None:
    """The example is accepted by the command itself."""
    assert command.exit_codes.keys() >= {EXIT_OK, EXIT_USAGE, EXIT_BUG}
    text = helped(*path)
    for example in command.examples:
        assert example in text
        program, *words = shlex.split(example)
        assert (program, tuple(words[: len(path)])) == ("mix-bridge", path)
        helped(*words)
    assert "Exit codes:" in text
    assert not re.search(r"<(bool|str|int|float|list)", text)


def test_a_group_lists_its_commands_before_its_options() -> None:
    """The settings options are last."""
    text = helped()
    places = [text.index(title) for title in ("Commands:", "\nOptions:", "Settings options:")]
    assert places == sorted(places)
    assert "..." not in text.partition("Options:")[0].partition("Commands:")[2]


def test_docs_cli_md_is_up_to_date() -> None:
    """It is generated."""
    page = Path(__file__).parents[2] / "docs/cli.md"
    assert page.read_text() == as_markdown(), "run `make docs`"
