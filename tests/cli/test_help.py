"""The help of commands, docs/cli.md, and parsing the values of options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer import BadParameter
from typer.core import TyperGroup
from typer.testing import CliRunner

from bridge.cli.app import app
from bridge.cli.command import session_parser, since_in_past
from bridge.cli.help import Command
from bridge.cli.manual import as_markdown
from bridge.errors import EXIT_BUG, EXIT_OK, EXIT_USAGE


def commands(group: TyperGroup, *path: str) -> Iterator[tuple[tuple[str, ...], Command]]:
    for name, each in group.commands.items():
        if isinstance(each, TyperGroup) and not each.hidden:
            yield from commands(each, *path, name)
        elif isinstance(each, Command) and not each.hidden:
            yield (*path, name), each


COMMANDS = list(commands(typer.main.get_group(app)))


def helped(*arguments: str) -> str:
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
    text = helped()
    places = [text.index(title) for title in ("Commands:", "\nOptions:", "Settings options:")]
    assert places == sorted(places)
    assert "..." not in text.partition("Options:")[0].partition("Commands:")[2]


def test_docs_cli_md_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs/cli.md"
    assert page.read_text() == as_markdown(), "run `make docs`"


NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90m", NOW - 90 * 60_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000),
        ("2023-11-14T23:13:20.5+01:00", 1_700_000_000_500),
    ],
)
def test_since_is_a_duration_or_a_time_with_its_offset(text: str, moment: int) -> None:
    assert since_in_past(text, lambda: NOW) == moment


@pytest.mark.parametrize("text", ["yesterday", "2999-01-01T00:00:00Z", "0s", "2023-11-14", "99999999h"])
def test_another_text_or_a_time_that_is_not_past_is_a_wrong_use(text: str) -> None:
    with pytest.raises(BadParameter):
        since_in_past(text, lambda: NOW)


def test_a_session_is_named_as_in_the_keys_of_records() -> None:
    """With its server; a command may allow other texts without a slash."""
    session, any_name = session_parser("SERVER/ID"), session_parser("SERVER/ID, ID", bool)
    assert session("local/a/b") == any_name("local/a/b") == "local/a/b"
    assert any_name("a") == "a"
    for parse, wrong in ((session, "a"), (session, ""), (any_name, "")):
        with pytest.raises(BadParameter):
            parse(wrong)
    for wrong in ("/a", "a/"):
        for parse in (session, any_name):
            with pytest.raises(BadParameter):
                parse(wrong)
