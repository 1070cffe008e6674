"""Shell blocks can be run as they are: each command exists and accepts its options."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bridge.cli.app import app
from tests.docs.pages import WRITTEN, Block, blocks, command_lines, name
from tests.support.repository import REPOSITORY


def commands(starts: Callable[[str], bool]) -> list[tuple[str, list[str]]]:
    """The commands whose program is as ``starts`` says, with their pages."""
    return [(name(page), words) for page, words in command_lines() if starts(words[0])]


def make_targets() -> set[str]:
    """The targets of the Makefile."""
    makefile = (REPOSITORY / "Makefile").read_text()
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE))


@pytest.mark.parametrize("block", blocks("sh"), ids=str)
def test_a_shell_block_parses(block: Block) -> None:
    """By bash itself."""
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("block", blocks(""), ids=str)
def test_commands_stand_in_shell_blocks(block: Block) -> None:
    """A block without a language is output or a drawing: commands in it would not be tested."""
    assert not re.search(r"^(?:mix-bridge|make|curl|python3?|MIX_BRIDGE_\w+=)", block.text, re.MULTILINE)


@pytest.mark.parametrize(("page", "words"), commands("mix-bridge".__eq__), ids=lambda value: " ".join(value)[:70])
def test_a_mix_bridge_command_is_accepted(page: str, words: list[str]) -> None:
    """With ``--help`` nothing runs, but an unknown command or option is still refused."""
    done = CliRunner().invoke(app, [*words[1:], "--help"])
    assert done.exit_code == os.EX_OK, f"{page}: {' '.join(words)}\n{done.output}"


def test_every_make_target_of_a_page_exists() -> None:
    """Each word after ``make`` that is no variable."""
    called = commands("make".__eq__)
    named = {(page, word) for page, words in called for word in words[1:] if "=" not in word and word.isidentifier()}
    assert {(page, word) for page, word in named if word not in make_targets()} == set()


def test_the_readme_names_the_targets_people_need() -> None:
    """Otherwise the test above would pass without any."""
    called = {words[1] for page, words in commands("make".__eq__) if page == "README.md"}
    assert called >= {"demo", "test", "check", "format", "bench", "wheel"}


def test_the_readme_is_in_the_order_in_which_people_need_it() -> None:
    """The demo comes right after the installation: it needs neither Kafka nor a Mix server."""
    readme = (REPOSITORY / "README.md").read_text()
    order = ["What it does", "Install", "Try it", "Configure", "Run", "Consume", "Guarantees", "When not to use it"]
    headings = [line.removeprefix("## ") for line in readme.splitlines() if line.startswith("## ")]
    assert headings == [*order, "Documentation", "Contributing"]
    assert len(readme.splitlines()) <= 130
    _, demo, *_ = (block for block in blocks("sh") if block.page.name == "README.md")
    assert demo.text == 'make demo ARGS="--for 10s"\n'


def test_every_python_module_of_a_page_exists() -> None:
    """Behind ``python -m``."""
    called = commands(lambda program: Path(program).name.startswith("python"))
    modules = {words[2] for _, words in called if words[1:2] == ["-m"]} - {"pip"}
    assert [module for module in modules if importlib.util.find_spec(module) is None] == []


def test_every_file_that_a_page_copies_exists() -> None:
    """Behind ``cp``: paths of the repository."""
    copied = [words[1] for _, words in commands("cp".__eq__)]
    assert [path for path in copied if not (REPOSITORY / path).exists()] == []


def test_every_page_is_found() -> None:
    """Otherwise the tests of this folder would pass without any."""
    assert {"README.md", "CHANGELOG.md", "docs/index.md", "docs/development/testing.md"} <= set(map(name, WRITTEN))
