"""Python blocks of the pages, each also a file of this folder: so `mypy --strict` checks them with the tests.

``<page>_<number>.py`` is the block of that number on the page. A test compares each with its page.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.repository import REPOSITORY

FOLDER = Path(__file__).parent
PAGES = ("README.md", "docs/consuming.md", "docs/recipes/duckdb.md", "docs/recipes/opentelemetry.md")


def blocks_of(page: str) -> list[str]:
    """The Python blocks of a page, in their order."""
    return re.findall(r"^```python\n(.*?)^```$", (REPOSITORY / page).read_text(), re.DOTALL | re.MULTILINE)


def files() -> dict[str, str]:
    """The text of each file that this folder must have, by name."""
    return {
        f"{Path(page).stem.lower()}_{number}.py": text
        for page in PAGES
        for number, text in enumerate(blocks_of(page), 1)
    }
