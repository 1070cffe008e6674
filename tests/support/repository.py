"""The files of this repository that people read."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def _files(*patterns: str) -> list[Path]:
    found = [path.relative_to(REPOSITORY) for pattern in patterns for path in REPOSITORY.glob(pattern)]
    return sorted(path for path in found if not {"target", "node_modules", "expected"} & set(path.parts))


PYTHON_FILES = _files("bridge/**/*.py", "tests/**/*.py")
TEXT_FILES = _files("README.md", "CONTRIBUTING.md", "docs/**/*.md", "config/**/*.*") + PYTHON_FILES
