"""The Python of the pages is in files that mypy checks strictly; some of it is also run, in the integration tests."""

from __future__ import annotations

from tests.docs.examples import FOLDER, files


def test_each_python_block_is_a_file_that_mypy_checks() -> None:
    """After a change of a page: ``python -m tests.docs.examples``, and remove files that are left over."""
    found = {path.name: path.read_text() for path in FOLDER.glob("*_[0-9].py")}
    assert found == files()
