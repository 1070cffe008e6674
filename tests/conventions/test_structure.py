"""Files of the package stay short, and test modules stand alone."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from tests.support.repository import PYTHON_FILES, REPOSITORY

MOST_LINES = 300
MOST_METHODS = 15
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def imports(path: Path) -> set[str]:
    """The modules and names that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((REPOSITORY / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_no_file_of_the_package_is_long() -> None:
    """A longer file has more than one subject."""
    lines = {str(path): len((REPOSITORY / path).read_text().splitlines()) for path in PYTHON_FILES}
    too_long = {path for path, count in lines.items() if path.startswith("bridge/") and count > MOST_LINES}
    assert set(too_long) == set()


def public_methods(path: Path) -> dict[str, int]:
    """The number of public methods and properties of each class in a file."""
    return {
        each.name: sum(isinstance(one, FUNCTIONS) and not one.name.startswith("_") for one in each.body)
        for each in ast.walk(ast.parse((REPOSITORY / path).read_text()))
        if isinstance(each, ast.ClassDef)
    }


def test_no_class_of_the_package_is_large() -> None:
    """One with more public methods has more than one role."""
    large = {
        f"{path}: {name}": count
        for path in PYTHON_FILES
        if path.parts[0] == "bridge"
        for name, count in public_methods(path).items()
        if count > MOST_METHODS
    }
    assert large == {}


def test_no_module_imports_a_test_module() -> None:
    """What several tests share is in ``tests/fakes``, ``tests/support`` or a module that is not a test."""
    importing = {
        path: {name for name in imports(path) if re.search(r"^tests\..*\.test_", name)} for path in PYTHON_FILES
    }
    assert {str(path): names for path, names in importing.items() if names} == {}


def test_fakes_and_helpers_import_no_tests() -> None:
    """They import each other and the package only."""
    shared = [path for path in PYTHON_FILES if str(path).startswith(("tests/fakes/", "tests/support/"))]
    allowed = ("tests.fakes.", "tests.support.")
    used = {path: {name for name in imports(path) if name.startswith("tests.")} for path in shared}
    assert {
        str(path): names for path, names in used.items() if any(not each.startswith(allowed) for each in names)
    } == {}


def test_tests_wait_in_one_place() -> None:
    """``wait_until`` and ``let_pass`` are the only waits of tests without an event to wait for."""
    pauses = re.compile(r"\bsleep\(|Event\(\)\.wait\(")
    sources = {path: (REPOSITORY / path).read_text() for path in PYTHON_FILES if path.parts[0] == "tests"}
    waiting = Path("tests/support/waiting.py")
    assert [str(path) for path, text in sources.items() if pauses.search(text) and path != waiting] == []


def test_what_a_docstring_refers_to_exists() -> None:
    """After a rename, a reader would search for a name that nothing has."""
    texts = {path: (REPOSITORY / path).read_text() for path in PYTHON_FILES if path.parts[0] == "bridge"}
    known = {
        name
        for text in texts.values()
        for name in re.findall(r"^ *(?:class |def )?(\w+)(?:[:(]| =)", text, re.MULTILINE)
    }
    modules = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in texts}
    missing = [
        f"{path}: {name}"
        for path, text in texts.items()
        for name in re.findall(r":(?:class|func|meth|mod|data|attr):`~?([\w.]+)`", text)
        if name not in modules and name.rpartition(".")[2] not in known
    ]
    assert missing == []
