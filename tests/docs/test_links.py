"""Every link within the repository leads to a file, and to a heading of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, WRITTEN, anchors, inline_code, links, name
from tests.support.repository import REPOSITORY


def broken(page: Path, link: str) -> str | None:
    """Why this link of a page leads nowhere."""
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return f"{link}: no such file"
    if anchor and anchor not in anchors(target):
        return f"{link}: no such heading, there are {', '.join(sorted(anchors(target)))}"
    return None


@pytest.mark.parametrize("page", [*PAGES, REPOSITORY / "config/settings.md"], ids=name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    """Links to other sites are not followed."""
    assert [reason for link in links(page) if (reason := broken(page, link)) is not None] == []


def test_every_page_can_be_reached_from_the_index() -> None:
    """A page without a link is not found by readers."""
    index = REPOSITORY / "docs/index.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    assert [name(page) for page in REPOSITORY.glob("docs/**/*.md") if page not in linked | {index}] == []


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_the_modules_that_a_page_names_exist(page: Path) -> None:
    """Paths of Python files in backticks, from the repository or from ``bridge/``."""
    named = {code for code in inline_code(page) if re.fullmatch(r"[\w/]+/\w+\.py", code)}
    roots = (REPOSITORY, REPOSITORY / "bridge")
    assert [path for path in named if not any((root / path).exists() for root in roots)] == []


def test_the_methods_that_the_architecture_names_exist() -> None:
    """``Class.method``, and a name that is ``in`` a file: a reader searches for them."""
    page = REPOSITORY / "docs/architecture.md"
    sources = {path: path.read_text() for path in REPOSITORY.glob("bridge/**/*.py")}
    methods = {code for code in inline_code(page) if re.fullmatch(r"[A-Z]\w+\.[a-z]\w+", code)}
    for code in methods:
        owner, _, method = code.partition(".")
        assert any(f"class {owner}" in text and f"def {method}(" in text for text in sources.values()), code
    for found, path in re.findall(r"`(?:\w+\.)?(\w+)`\s+in\s+`([\w/]+\.py)`", page.read_text()):
        assert re.search(rf"^(?:class|def| +def) {found}\b", sources[REPOSITORY / "bridge" / path], re.MULTILINE), found
    assert methods
