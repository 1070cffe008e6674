"""The pages of the documentation, and what the tests need from them: code blocks, command lines, links, anchors."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.repository import REPOSITORY

PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
GENERATED = {REPOSITORY / f"docs/{name}.md" for name in ("cli", "logs", "metrics")}
"""Pages that a command writes: their text is tested where they are generated, only their links are tested here."""
WRITTEN = [page for page in PAGES if page not in GENERATED]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SEPARATORS = re.compile(r"&&|\|\||[;|&]")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_KEYWORDS = {"do", "then", "else", "sudo", "nice"}


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    page: Path
    language: str
    text: str

    def __str__(self) -> str:
        """For the names of tests and messages."""
        return f"{name(self.page)}: {self.text.splitlines()[0][:60]}"


def name(page: Path) -> str:
    """The path within the repository."""
    return str(page.relative_to(REPOSITORY))


def blocks(language: str) -> list[Block]:
    """All fenced blocks of this language."""
    found = [Block(page, *match.groups()) for page in WRITTEN for match in _FENCE.finditer(page.read_text())]
    return [block for block in found if block.language == language]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def inline_code(page: Path) -> list[str]:
    """What a page has in backticks, without its fenced blocks."""
    return _INLINE.findall(prose(page))


def links(page: Path) -> list[str]:
    """The targets of a page's links that stay in the repository."""
    return [link for link in _LINK.findall(_INLINE.sub("", prose(page))) if "://" not in link]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        count = sum(anchor == plain or re.fullmatch(rf"{re.escape(plain)}-\d+", anchor) is not None for anchor in found)
        found.add(f"{plain}-{count}" if count else plain)
    return found


def command_lines() -> Iterator[tuple[Path, list[str]]]:
    """Every command of every shell block, and those in the text that begin with one of our programs."""
    for block in blocks("sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            yield from ((block.page, words) for words in _commands(line))
    for page in WRITTEN:
        for code in inline_code(page):
            if (
                code.startswith(("mix-bridge ", "make ", "python -m ")) and " / " not in code
            ):  # `settings show / schema`
                yield page, shlex.split(code.replace("'", ""))


def _commands(line: str) -> Iterator[list[str]]:
    words = shlex.split(line, comments=True)
    command: list[str] = []
    for word in [*words, ";"]:
        if _SEPARATORS.fullmatch(word.strip()) or word in {"done", "fi"}:
            if command:
                yield command
            command = []
        elif word.endswith(";"):
            yield [*command, word[:-1]]
            command = []
        elif command or not (_ASSIGNMENT.match(word) or word in _KEYWORDS):
            command.append(word)
