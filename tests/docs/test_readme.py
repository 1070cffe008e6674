"""What the README promises to be there is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")])


def targets() -> set[str]:
    """The targets of the Makefile."""
    makefile = (REPOSITORY / "Makefile").read_text()
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_the_make_targets_of_a_page_exist(page: Path) -> None:
    """Whatever stands behind ``make`` in code."""
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(), re.MULTILINE))
    assert named <= targets()


def test_the_readme_names_the_targets_people_need() -> None:
    """Else the test above would be content with none."""
    text = (REPOSITORY / "README.md").read_text()
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE))
    assert named >= {"demo", "test", "check", "format", "bench", "wheel"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_the_links_of_a_page_lead_to_files(page: Path) -> None:
    """Relative ones; an anchor is not looked at."""
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing
