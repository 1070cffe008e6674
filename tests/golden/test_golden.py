"""The public interface does not change: see the docstring of the package."""

from __future__ import annotations

import difflib

import pytest

from tests.golden.cases import EXPECTED, GROUPS


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_the_public_interface_does_not_change(group) -> None:
    """Each document equals its file. If the change is intended, run `python -m tests.golden` and commit the files."""
    found = group()
    expected = {path.name: path.read_text(encoding="utf-8") for path in (EXPECTED / group.__name__).iterdir()}
    names = sorted(found.keys() | expected.keys())
    lines = [line for name in names for line in _difference(name, expected.get(name, ""), found.get(name, ""))]
    assert not lines, "\n" + "\n".join(lines)


def _difference(name: str, expected: str, found: str) -> list[str]:
    before, after = expected.split("\n"), found.split("\n")
    return list(difflib.unified_diff(before, after, f"expected {name}", f"now {name}", lineterm="", n=3))
