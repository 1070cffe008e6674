"""The project's former private words do not return, neither as Python names nor in prose."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.support.repository import PYTHON_FILES, REPOSITORY, TEXT_FILES

WORDS = tomllib.loads(Path(__file__).with_name("words.toml").read_text())
NAME_PARTS, WHOLE_NAMES = set(WORDS["name_parts"]), set(WORDS["whole_names"])
PHRASES = re.compile(rf"\b(?:{'|'.join(WORDS['phrases'])})\b".replace(" ", r"\s+(?:#\s+)?"), re.IGNORECASE)
ALLOWED = ("tests/golden/",)
"""Beginnings of paths: the names of golden cases are keys of the expected files."""
CHECKED = [path for path in PYTHON_FILES if not str(path).startswith(ALLOWED)]
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def names(tree: ast.Module) -> Iterator[str]:
    """All names that a module defines."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.alias(asname=str(name)):
                yield name


def words_of(name: str) -> set[str]:
    """The words of a name in lower case, also without a plural's ``s``."""
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
    return words | {word.removesuffix("s") for word in words}


@cache
def faults(path: Path) -> tuple[set[str], list[str]]:
    """The names in a file that the word list forbids, including the file's own, and its docstrings that only refer."""
    tree = ast.parse((REPOSITORY / path).read_text())
    types = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    whole = {name for name in [*types, path.stem] if name.strip("_").lower() in WHOLE_NAMES}
    docstrings = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, DOCUMENTED)]
    return (
        whole | {name for name in [*names(tree), path.stem] if words_of(name) & NAME_PARTS},
        [text for text in docstrings if re.fullmatch(r"See \S+( in \S+)?", text)],
    )


def private_phrases(path: Path) -> list[str]:
    """The phrases in a file that the word list forbids, with their lines."""
    text = (REPOSITORY / path).read_text()
    return [f"{path}:{text.count(chr(10), 0, hit.start()) + 1}: {hit[0]}" for hit in PHRASES.finditer(text)]


def test_names_are_plain() -> None:
    """Names of modules, classes, functions, variables and parameters."""
    assert {str(path): found for path in CHECKED if (found := faults(path)[0])} == {}


def test_prose_is_plain() -> None:
    """Comments, docstrings, messages and pages."""
    files = [path for path in TEXT_FILES if not str(path).startswith(ALLOWED)]
    assert [hit for path in files for hit in private_phrases(path)] == []


def test_docstrings_describe() -> None:
    """A docstring that only refers to another place describes nothing."""
    assert {str(path): found for path in CHECKED if (found := faults(path)[1])} == {}
